"""Cassandra, the hourly usage of each station."""

from __future__ import annotations

from typing import ClassVar

from evcharge.components import NATIVE, Component, pinned_version
from evcharge.connections import CASSANDRA_DEFAULT_LOGIN, LoginRefusedError, cassandra
from evcharge.priority import STREAM
from evcharge.stack.files import write_from_template
from evcharge.stack.programs import java_command, java_path
from evcharge.stack.servers.base import Server, password
from evcharge.stack.servers.probing import require_listener

#: The version of the agent that cassandra-all depends on (its POM).
_JAMM = "0.4.0"


class Cassandra(Server):
    name = "cassandra"
    version = pinned_version("cassandra")
    ports = ("cassandra", "cassandra_storage")
    secrets: ClassVar = {"cassandra_password": password}
    component = Component("cassandra", version, "jars", ("cassandra/pom.xml",))
    programs: ClassVar = {"java": java_command}
    configuration = ("cassandra.yaml",)
    stop_within_s = 40
    # drivers do not wait for what the stream writes there
    niceness = STREAM
    lacking = "hourly usage"

    @property
    def address(self) -> str:
        return self.settings.cassandra_contact_points.split(",")[0]

    @property
    def command(self) -> tuple[str, ...]:
        data = self.folder / "data"
        return (
            *(java_path(), "-Xms256m", "-Xmx1g", f"-javaagent:{self.program}/jamm-{_JAMM}.jar"),
            f"@{NATIVE / 'cassandra' / 'jvm.options'}",
            f"-Dlogback.configurationFile={NATIVE / 'cassandra' / 'logback.xml'}",
            f"-Dcassandra.config={(self.folder / 'cassandra.yaml').as_uri()}",
            f"-Dcassandra.storagedir={data}",
            f"-Dcassandra.logdir={data / 'logs'}",
            *("-cp", f"{self.program}/*", "org.apache.cassandra.service.CassandraDaemon"),
        )

    def prepare(self) -> None:
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        write_from_template(
            "cassandra/cassandra.yaml",
            self.folder / "cassandra.yaml",
            port=self.settings.port("cassandra"),
            storage_port=self.settings.port("cassandra_storage"),
        )

    def probe(self) -> None:
        """Logs in and reads the server's version. A new server has only its default login yet."""
        for point in self.settings.cassandra_contact_points.split(","):
            require_listener(*point.rsplit(":", 1))
        query = "SELECT release_version FROM system.local"
        try:
            with cassandra(self.settings) as session:
                session.execute(query)
        except LoginRefusedError as refused:
            if self.external:
                raise
            try:
                with cassandra(self.settings, CASSANDRA_DEFAULT_LOGIN) as session:
                    session.execute(query)
            except LoginRefusedError:
                raise refused from None

    def bootstrap(self) -> None:
        """Creates keyspace and tables. On a server of our own, the platform's role replaces the default login."""
        from evcharge.live import cassandra_schema

        if not self.external:
            self._replace_default_login()
        with cassandra(self.settings) as session:
            session.execute(
                f"CREATE KEYSPACE IF NOT EXISTS {self.settings.cassandra_keyspace} "
                "WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
            )
        cassandra_schema.ensure(self.settings)

    def _replace_default_login(self) -> None:
        user, secret = self.settings.cassandra_user, self.settings.cassandra_password.get_secret_value()
        try:
            with cassandra(self.settings):
                pass
        except LoginRefusedError:
            with cassandra(self.settings, CASSANDRA_DEFAULT_LOGIN) as session:
                session.execute(
                    f"CREATE ROLE IF NOT EXISTS {_identifier(user)} "
                    f"WITH SUPERUSER = true AND LOGIN = true AND PASSWORD = {_literal(secret)}"
                )
        with cassandra(self.settings) as session:
            session.execute(f"ALTER ROLE {CASSANDRA_DEFAULT_LOGIN[0]} WITH SUPERUSER = false AND LOGIN = false")


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

"""Cassandra, the hourly usage of each station."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import ClassVar

from evcharge.components import NATIVE, Component, pinned_version
from evcharge.connections import cassandra, require_listener
from evcharge.memory import G1_GIVES_BACK
from evcharge.priority import STREAM
from evcharge.stack.errors import StackError
from evcharge.stack.files import write_from_template
from evcharge.stack.programs import java_command, java_path
from evcharge.stack.servers.base import Server, around_full_disk, password
from evcharge.stack.servers.probing import PROBE_TIMEOUT_S

#: The version of the agent that cassandra-all depends on (its POM).
_JAMM = "0.4.0"
#: The folder of the table system_auth.roles: Cassandra makes the ids of its own tables from their names.
_ROLES = "roles-5bc52802de2535edaeab188eecebb090"


class Cassandra(Server):
    name = "cassandra"
    version = pinned_version("cassandra")
    unprivileged = True
    ports = ("cassandra", "cassandra_storage")
    secrets: ClassVar = {"cassandra_password": password, "dashboard_cassandra_password": password}
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
            *around_full_disk("without-blank", data / "commitlog"),
            *(java_path(), "-Xmx1g", *G1_GIVES_BACK, f"-javaagent:{self.program}/jamm-{_JAMM}.jar"),
            f"@{NATIVE / 'cassandra' / 'jvm.options'}",
            f"-Dlogback.configurationFile={NATIVE / 'cassandra' / 'logback.xml'}",
            f"-Dcassandra.config={(self.folder / 'cassandra.yaml').as_uri()}",
            f"-Dcassandra.storagedir={data}",
            f"-Dcassandra.logdir={data / 'logs'}",
            *("-cp", f"{self.program}/*", "org.apache.cassandra.service.CassandraDaemon"),
        )

    def prepare(self) -> None:
        """Writes its configuration; gives a new server its role."""
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        write_from_template(
            "cassandra/cassandra.yaml",
            self.folder / "cassandra.yaml",
            port=self.settings.port("cassandra"),
            storage_port=self.settings.port("cassandra_storage"),
        )
        if not (data / "data").exists():
            self._write_first_role(data / "data" / "system_auth" / _ROLES)

    def probe(self) -> None:
        """Logs in and reads the server's version."""
        for point in self.settings.cassandra_contact_points.split(","):
            require_listener(point, PROBE_TIMEOUT_S)
        with cassandra(self.settings) as session:
            session.execute("SELECT release_version FROM system.local")

    def bootstrap(self) -> None:
        """Creates keyspace and tables; on a server of ours the dashboard's role too, which only reads them."""
        from evcharge.live import cassandra_schema

        with cassandra(self.settings) as session:
            session.execute(
                f"CREATE KEYSPACE IF NOT EXISTS {self.settings.cassandra_keyspace} "
                "WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
            )
        cassandra_schema.ensure(self.settings)
        if not self.external:
            self._create_reader()

    def _create_reader(self) -> None:
        settings = self.settings
        secret = settings.dashboard_cassandra_password.get_secret_value()
        with cassandra(settings) as session:
            for statement in (
                f"CREATE ROLE IF NOT EXISTS {settings.dashboard_user} WITH LOGIN = true AND PASSWORD = '{secret}'",
                f"GRANT SELECT ON KEYSPACE {settings.cassandra_keyspace} TO {settings.dashboard_user}",
            ):
                session.execute(statement, timeout=60)

    def _write_first_role(self, roles: Path) -> None:
        """Writes the platform's role into the storage of a server that never ran.

        A server that finds no role makes the superuser cassandra with the password cassandra.
        """
        import bcrypt

        secret = self.settings.cassandra_password.get_secret_value().encode()
        hashed = bcrypt.hashpw(secret, bcrypt.gensalt(rounds=10, prefix=b"2a")).decode()
        # filled under another name, so that the folder has its role whenever it exists
        new = self.folder / "first-role"
        shutil.rmtree(new, ignore_errors=True)
        options = [
            line for line in (NATIVE / "cassandra" / "jvm.options").read_text().splitlines() if line.startswith("--add")
        ]
        command = [
            *(java_command(), *(part for line in options for part in line.split())),
            f"-Dlogback.configurationFile={NATIVE / 'cassandra' / 'logback.xml'}",
            *("-cp", f"{self.program}/*", str(NATIVE / "cassandra" / "FirstRole.java"), str(new)),
        ]
        role = f"{self.settings.cassandra_user}\n{hashed}\n"
        done = subprocess.run(command, input=role, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise StackError(
                f"cassandra: its first role cannot be written\n{(done.stdout + done.stderr).strip()[-1500:]}"
            )
        roles.parent.mkdir(parents=True)
        new.rename(roles)

"""Elasticsearch, the live state of stations and traffic that drivers search."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import ClassVar

from evcharge.components import NATIVE, Component, Maven, pinned_version
from evcharge.memory import G1_GIVES_BACK, SHARES_CLASSES
from evcharge.stack.files import write_from_template, write_private
from evcharge.stack.programs import java_command, java_path
from evcharge.stack.servers.base import Server, password
from evcharge.stack.servers.probing import NotHealthy, http_get


class Elasticsearch(Server):
    name = "elasticsearch"
    version = pinned_version("elasticsearch")
    ports = ("elasticsearch", "elasticsearch_transport")
    secrets: ClassVar = {"elasticsearch_password": password, "dashboard_elasticsearch_password": password}
    component = Component(
        "elasticsearch", version, f"elasticsearch-{version}", ("elasticsearch/pom.xml",), Maven(unpack=True)
    )
    programs: ClassVar = {"java": java_command}
    configuration = (
        *("config/elasticsearch.yml", "config/jvm.options", "config/log4j2.properties"),
        *("config/users", "config/users_roles", "config/roles.yml"),
    )
    first_look = True
    # it refuses to run as root
    unprivileged = True
    stop_within_s = 40
    lacking = "free chargers nearby, station and traffic questions"

    @property
    def address(self) -> str:
        return self.settings.elasticsearch_url

    @property
    def command(self) -> tuple[str, ...]:
        return (f"{self.program}/bin/elasticsearch",)

    @property
    def environment(self) -> dict[str, str]:
        java = java_path()
        return {
            "ES_PATH_CONF": str(self.folder / "config"),
            "ES_TMPDIR": str(self.folder / "tmp"),
            "ES_JAVA_HOME": str(Path(shutil.which(java) or java).resolve().parent.parent),
            "HOME": str(self.folder),
            # of the process that starts the server and waits for its end
            "CLI_JAVA_OPTS": " ".join((*SHARES_CLASSES, "-XX:TieredStopAtLevel=1")),
        }

    def prepare(self) -> None:
        """Writes its files, with the platform's user and the dashboard's, which only reads, as the only ones."""
        folder, config = self.folder, self.folder / "config"
        for name in ("config", "data", "logs", "tmp"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        write_from_template(
            "elasticsearch/elasticsearch.yml",
            config / "elasticsearch.yml",
            data=folder / "data",
            logs=folder / "logs",
            port=self.settings.port("elasticsearch"),
            transport_port=self.settings.port("elasticsearch_transport"),
        )
        write_from_template("elasticsearch/jvm.options", config / "jvm.options", gives_back="\n".join(G1_GIVES_BACK))
        for name in ("log4j2.properties", "roles.yml"):
            write_private(config / name, (NATIVE / "elasticsearch" / name).read_text())
        self._write_users(config)

    def probe(self) -> None:
        """Reads the cluster's health with the platform's login: every primary shard must be there."""
        settings = self.settings
        health = json.loads(
            http_get(
                f"{settings.elasticsearch_url}/_cluster/health",
                login=(settings.elasticsearch_user, settings.elasticsearch_password.get_secret_value()),
            )
        )
        if health["status"] == "red":
            raise NotHealthy(f"status red, {health['active_shards_percent_as_number']:.0f} % of the shards are active")

    def bootstrap(self) -> None:
        """Creates the live indices."""
        from evcharge.live import indices

        indices.ensure(self.settings)

    def _write_users(self, config: Path) -> None:
        import bcrypt

        settings, users = self.settings, config / "users"
        secrets = {
            settings.elasticsearch_user: settings.elasticsearch_password,
            settings.dashboard_user: settings.dashboard_elasticsearch_password,
        }
        known = dict(line.split(":", 1) for line in users.read_text().split()) if users.exists() else {}
        for name, known_as in secrets.items():
            secret = known_as.get_secret_value().encode()
            # a new hash has a new salt: written each time, the file would restart the server for nothing
            if name not in known or not bcrypt.checkpw(secret, known[name].encode()):
                known[name] = bcrypt.hashpw(secret, bcrypt.gensalt(rounds=10, prefix=b"2a")).decode()
        write_private(users, "".join(f"{name}:{known[name]}\n" for name in secrets))
        write_private(
            config / "users_roles",
            f"superuser:{settings.elasticsearch_user}\ndashboard:{settings.dashboard_user}\n",
        )

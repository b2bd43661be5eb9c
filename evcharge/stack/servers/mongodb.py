"""MongoDB, the reference data: SecantusDB, which speaks MongoDB's protocol."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import ClassVar

from evcharge.components import pinned_version
from evcharge.connections import mongodb, require_listener
from evcharge.stack.files import write_from_template
from evcharge.stack.programs import environment_script, secantus_command
from evcharge.stack.servers.base import Server, around_full_disk, password
from evcharge.stack.servers.probing import PROBE_TIMEOUT_S


class MongoDB(Server):
    name = "mongodb"
    version = pinned_version("mongodb")
    unprivileged = True
    ports = ("mongodb",)
    secrets: ClassVar = {"mongodb_password": password, "dashboard_mongodb_password": password}
    programs: ClassVar = {"secantusd": secantus_command}
    configuration = ("secantusd.toml",)
    first_look = True
    lacking = "reference data"
    note = "SecantusDB, which speaks MongoDB's protocol"
    stand_in = "SecantusDB, which speaks MongoDB's protocol; for a real server set EVCHARGE_MONGODB_HOST"

    @property
    def address(self) -> str:
        return self.settings.mongodb_host.split(",")[0]

    @property
    def command(self) -> tuple[str, ...]:
        program = (str(environment_script("secantusd-py")), "--config", str(self.folder / "secantusd.toml"))
        return (*around_full_disk("restart", self.folder), *program)

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.folder)}

    def prepare(self) -> None:
        """Creates the storage once, with the platform's user."""
        data = self.folder / "data"
        write_from_template(
            "mongodb/secantusd.toml", self.folder / "secantusd.toml", port=self.settings.port("mongodb"), data=data
        )
        if not data.exists():
            self._create_storage(data)

    def probe(self) -> None:
        """Logs in and lists the database's collections."""
        for point in self.settings.mongodb_host.split(","):
            require_listener(point, PROBE_TIMEOUT_S)
        with mongodb(self.settings) as database:
            database.list_collection_names()

    def bootstrap(self) -> None:
        """Creates the reference data's collections; on a server of ours the dashboard's user too, which only reads them."""
        from evcharge.reference import mongodb as reference

        reference.ensure(self.settings)
        if not self.external:
            self._create_reader()

    def _create_reader(self) -> None:
        name = self.settings.dashboard_user
        with mongodb(self.settings) as database:
            if not database.command("usersInfo", name)["users"]:
                secret = self.settings.dashboard_mongodb_password.get_secret_value()
                database.command("createUser", name, pwd=secret, roles=[{"role": "read", "db": database.name}])

    def _create_storage(self, data: Path) -> None:
        """Creates the user here, because no client can create one on a server that demands logins."""
        from pymongo import MongoClient
        from secantus import SecantusDBServer

        # filled under another name, so that the folder has its user whenever it exists
        new = data.with_name("data.new")
        shutil.rmtree(new, ignore_errors=True)
        with (
            SecantusDBServer(storage_path=str(new), replica_set_name=None, enable_test_commands=False) as server,
            MongoClient[dict[str, object]](server.uri, serverSelectionTimeoutMS=10_000) as client,
        ):
            client["admin"].command(
                "createUser",
                self.settings.mongodb_user,
                pwd=self.settings.mongodb_password.get_secret_value(),
                roles=[{"role": "dbOwner", "db": self.settings.mongodb_database}],
            )
        new.rename(data)

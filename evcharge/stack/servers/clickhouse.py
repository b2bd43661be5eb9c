"""ClickHouse, the warehouse: the engine of the chDB library behind a server of our own (`deploy/native/clickhouse`)."""

from __future__ import annotations

import hashlib
import sys
from typing import ClassVar

from evcharge.components import NATIVE, Component, Npm, pinned_version
from evcharge.connections import clickhouse, require_listener
from evcharge.stack.files import write_from_template
from evcharge.stack.servers.base import Server, derived_key, password
from evcharge.stack.servers.probing import PROBE_TIMEOUT_S, NotHealthy, http_get


class ClickHouse(Server):
    name = "clickhouse"
    version = pinned_version("clickhouse")
    unprivileged = True
    ports = ("clickhouse", "clickhouse_http")
    secrets: ClassVar = {
        "clickhouse_password": password,
        "analyst_password": password,
        "dashboard_clickhouse_password": password,
    }
    component = Component(
        "clickhouse",
        version,
        "node_modules/@chdb/lib-linux-x64-gnu/libchdb.so",
        source=Npm("@chdb/lib-linux-x64-gnu"),
    )
    configuration = ("config.xml", "users.xml")
    stop_within_s = 30
    note = "ClickHouse engine via the chDB library"
    stand_in = (
        "the ClickHouse engine via the chDB library, on loopback only; for a real server set EVCHARGE_CLICKHOUSE_HOST"
    )

    @property
    def address(self) -> str:
        return f"{self.settings.clickhouse_host}:{self.settings.clickhouse_port}"

    @property
    def command(self) -> tuple[str, ...]:
        return (
            *(sys.executable, str(NATIVE / "clickhouse" / "server.py"), str(self.program)),
            *(str(self.folder / "config.xml"), str(self.folder / "data")),
            *(str(self.settings.port("clickhouse")), str(self.settings.port("clickhouse_http"))),
        )

    @property
    def environment(self) -> dict[str, str]:
        return {"CLICKHOUSE_HOST_PASSWORD": self._host_password}

    def prepare(self) -> None:
        settings, users = self.settings, self.folder / "users.xml"
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        write_from_template("clickhouse/config.xml", self.folder / "config.xml", users=users)
        write_from_template(
            "clickhouse/users.xml",
            users,
            host_sha256=_sha256(self._host_password),
            etl_user=settings.clickhouse_user,
            etl_sha256=_sha256(settings.clickhouse_password.get_secret_value()),
            analyst_user=settings.analyst_user,
            analyst_sha256=_sha256(settings.analyst_password.get_secret_value()),
            dashboard_user=settings.dashboard_user,
            dashboard_sha256=_sha256(settings.dashboard_clickhouse_password.get_secret_value()),
            database=settings.clickhouse_database,
        )

    def probe(self) -> None:
        """Selects 1 as the loading user, over HTTP and then over the native protocol.

        HTTP first, because the hosted engine aborts when a native login fails.
        """
        settings = self.settings
        require_listener(f"{settings.clickhouse_host}:{settings.clickhouse_http_port}", PROBE_TIMEOUT_S)
        answer = http_get(
            f"http://{settings.clickhouse_host}:{settings.clickhouse_http_port}/?query=SELECT%201",
            login=(settings.clickhouse_user, settings.clickhouse_password.get_secret_value()),
        )
        if answer.strip() != "1":
            raise NotHealthy(f"SELECT 1 gave {answer[:80]!r}")
        client = clickhouse(settings, database="default")
        try:
            client.execute("SELECT 1")
        finally:
            client.disconnect()

    def bootstrap(self) -> None:
        """Creates the warehouse's database, tables and views."""
        from evcharge.warehouse import schema

        schema.apply(self.settings)

    @property
    def _host_password(self) -> str:
        """The password of the user that ends the hosting session, made from the loading user's."""
        return derived_key(self.settings.clickhouse_password.get_secret_value(), "clickhouse-host")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

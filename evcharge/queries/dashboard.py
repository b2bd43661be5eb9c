"""What the dashboard's process knows: its own settings, with logins that only read, and none of the platform's passwords."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from evcharge.connections import ServerDownError
from evcharge.errors import NoSuchThingError, UserError
from evcharge.queries.availability import Station
from evcharge.queries.box import Box
from evcharge.queries.changes import Changes, Cursor
from evcharge.queries.client import Queries
from evcharge.queries.forecast import ForecastQuestion
from evcharge.queries.freshness import Freshness
from evcharge.queries.map import MAX_STATIONS, MOST_STATIONS, MapQuestion
from evcharge.queries.network import NetworkQuestion
from evcharge.queries.traffic import TrafficQuestion
from evcharge.queries.trip import TripQuestion
from evcharge.queries.vehicles import VehiclesQuestion
from evcharge.settings import Settings

#: What the dashboard takes from here, so that it knows nothing below the questions.
__all__ = [
    "MAX_STATIONS",
    "MOST_STATIONS",
    "Box",
    "Changes",
    "Cursor",
    "DashboardOptions",
    "ForecastQuestion",
    "Freshness",
    "MapQuestion",
    "NetworkQuestion",
    "NoSuchThingError",
    "Queries",
    "ServerDownError",
    "Station",
    "TrafficQuestion",
    "TripQuestion",
    "UserError",
    "VehiclesQuestion",
    "open_dashboard",
]

#: The stores that the dashboard reads.
STORES = ("elasticsearch", "cassandra", "clickhouse", "mongodb")


@dataclass(frozen=True, slots=True)
class DashboardOptions:
    """The settings of the web server itself. `hosts` are the names that a request may be for, without ports."""

    port: int
    hosts: tuple[str, ...]
    proxies: int
    tile_url: str
    dagster_url: str
    version: str
    streams: int
    requests_per_minute: int


def settings_file(home: Path, port: int) -> Path:
    """Where the dashboard on a port finds its settings, in the platform's home. Two on different ports may differ."""
    return home / "dashboard" / f"settings-{port}.json"


def reader_values(settings: Settings) -> dict[str, Any]:
    """The settings that the dashboard gets: those that were set, without secrets, and its own login at each store.

    Raises UserError if the platform has no such logins.
    """
    chosen = settings.model_fields_set | {"home", "port_offset", "profile"}
    values = {name: getattr(settings, name) for name in sorted(chosen) if not name.endswith(("_user", "_key"))}
    values = {name: value for name, value in values.items() if not isinstance(value, SecretStr)}
    for store in STORES:
        secret = getattr(settings, f"dashboard_{store}_password").get_secret_value()
        if not secret:
            raise UserError("this platform has no logins for the dashboard yet: `make up` makes them")
        values |= {f"{store}_user": settings.dashboard_user, f"{store}_password": secret}
    # there the platform's own user may make users of its database only
    return values | {"mongodb_auth_source": settings.mongodb_database}


def dump(values: Mapping[str, Any]) -> str:
    """The text of the file for `reader_values`."""
    return json.dumps(values, indent=1, default=str)


def read_settings(path: Path) -> Settings:
    """The settings in a file that `dump` made. Neither the environment nor the platform's credentials add to them.

    Raises UserError if there is no such file.
    """
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} is missing: `make up` or `evcharge dashboard` writes it") from None
    return Settings(_env_file=None, **values)


def open_dashboard(port: int) -> tuple[Queries, DashboardOptions]:
    """The questions, asked with logins that only read, and the settings of the web server on a port.

    The environment's EVCHARGE_HOME is the platform's home. Raises UserError.
    """
    settings = read_settings(settings_file(Path(os.environ["EVCHARGE_HOME"]), port))
    return Queries(settings), options(settings)


def warm(queries: Queries) -> None:
    """Asks one question of each kind, so that no page waits for what is loaded first: roads, gazetteer, connections.

    What does not answer is left for the pages to say.
    """
    view = (-119.0, 33.0, -118.0, 35.0)
    for ask in (
        lambda: queries.map(MapQuestion(*view)),
        lambda: queries.trip(
            TripQuestion("Los Angeles, CA", "San Diego, CA", queries.ev_models().cars[0].ev_model_id, 80.0)
        ),
        lambda: queries.network(NetworkQuestion()),
        lambda: queries.station("none"),
        lambda: queries.status(),
    ):
        with contextlib.suppress(UserError, ServerDownError):
            ask()


def options(settings: Settings) -> DashboardOptions:
    """The web server's part of the settings."""
    hosts = {host.strip().lower() for host in settings.dashboard_hosts.split(",") if host.strip()}
    return DashboardOptions(
        port=settings.dashboard_port,
        # the supervisor asks under these, and no other site can have them
        hosts=tuple(sorted(hosts | {"127.0.0.1", "localhost"})),
        proxies=settings.dashboard_proxies,
        tile_url=settings.dashboard_tile_url,
        dagster_url=f"http://127.0.0.1:{settings.dagster_port}",
        version=version("evcharge"),
        streams=settings.dashboard_streams,
        requests_per_minute=settings.dashboard_requests_per_minute,
    )

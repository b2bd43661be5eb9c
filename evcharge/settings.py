"""Every setting of the platform, such as servers' addresses, logins, and how large a publication may grow.

A setting comes from the environment (`EVCHARGE_…`), or else from the platform's `credentials.env`, or else from the
defaults here. The default addresses are those of the natively run servers (`stack.toml` beside this file). A server whose
address the user sets is used and not started.
"""

from __future__ import annotations

import os
import tomllib
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from evcharge.errors import UserError

#: The folder that holds this package: the clone, or where a wheel was installed.
PROJECT = Path(__file__).resolve().parent.parent
#: Only a clone (or an unpacked source distribution) has the servers' configuration, the examples and the documents.
IS_CLONE = (PROJECT / "pyproject.toml").is_file()
#: A clone keeps a platform of its own; an installed package keeps the user's (XDG Base Directory Specification).
DEFAULT_HOME = (
    PROJECT / ".evcharge"
    if IS_CLONE
    else Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "evcharge"
)
#: Versions and ports of the natively run servers. `deploy/native/stack.toml` is a link to it.
STACK_FILE = Path(__file__).parent / "stack.toml"

# A hundred years at most: a time that reaches back before the calendar would end a daily job, long after it was set.
Days = Annotated[int, Field(le=36_500)]
Hours = Annotated[int, Field(le=36_500 * 24)]
Seconds = Annotated[int, Field(le=36_500 * 86_400)]


def _a_day(text: str) -> str:
    date.fromisoformat(text)
    return text


Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$"), AfterValidator(_a_day)]

#: By natively run server: the setting that replaces it with a server of the user's.
EXTERNAL = {
    "kafka": "kafka_bootstrap_servers",
    "minio": "minio_endpoint",
    "lakefs": "lakefs_endpoint",
    "clickhouse": "clickhouse_host",
    "spark-connect": "spark_remote",
    "elasticsearch": "elasticsearch_url",
    "cassandra": "cassandra_contact_points",
    "mongodb": "mongodb_host",
}


class SettingsError(UserError):
    """A setting is wrong. The message is one line that names it."""


class Settings(BaseSettings):
    """All settings, checked. Build it with `load_settings`."""

    model_config = SettingsConfigDict(env_prefix="EVCHARGE_", extra="ignore")

    home: Path = Field(DEFAULT_HOME, description="data, logs and credentials of this platform")
    cache: Path = Field(
        Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "evcharge",
        description="downloads and builds, shared by all clones of this user",
    )
    profile: Literal["full", "small"] = Field(
        "full", description="small starts without the live stores: no nearby, station, traffic, no reference data"
    )
    port_offset: int = Field(0, ge=0, le=40_000, description="added to every port of stack.toml")
    disk_reserve_mb: int = Field(
        1_000,
        ge=0,
        description="megabytes that stay free on the home's disk: with less, nothing is sent, published or loaded",
    )

    kafka_bootstrap_servers: str = ""
    kafka_user: str = "evcharge"
    kafka_password: SecretStr = SecretStr("")
    kafka_retention_h: Hours = Field(
        168,
        ge=1,
        description="hours that Kafka keeps a record after it was published; unpublished ones stay",
    )
    kafka_partitions: int = Field(4, ge=1, le=1_000, description="partitions of a topic when it is created")

    minio_endpoint: str = ""
    minio_access_key: str = "evcharge"
    minio_secret_key: SecretStr = SecretStr("")

    lakefs_endpoint: str = ""
    lakefs_access_key: str = ""
    lakefs_secret_key: SecretStr = SecretStr("")
    lake_repository: str = "evcharge"
    lake_bucket: str = "evcharge-lake"
    compute_log_bucket: str = "evcharge-compute-logs"

    clickhouse_host: str = ""
    clickhouse_port: int = 0
    clickhouse_http_port: int = 0
    clickhouse_database: str = "evcharge"
    clickhouse_user: str = "etl"
    clickhouse_password: SecretStr = SecretStr("")
    analyst_user: str = "analyst"
    analyst_password: SecretStr = SecretStr("")

    spark_remote: str = ""
    spark_token: SecretStr = SecretStr("")

    elasticsearch_url: str = ""
    elasticsearch_user: str = "evcharge"
    elasticsearch_password: SecretStr = SecretStr("")

    cassandra_contact_points: str = Field("", description="host:port, several with commas between")
    cassandra_user: str = "evcharge"
    cassandra_password: SecretStr = SecretStr("")
    cassandra_keyspace: str = Field("evcharge", pattern=r"^[a-z][a-z0-9_]*$")

    mongodb_host: str = Field("", description="host:port")
    mongodb_user: str = "evcharge"
    mongodb_password: SecretStr = SecretStr("")
    mongodb_database: str = "evcharge"
    mongodb_auth_source: str = Field("admin", description="the database that has MongoDB's user")

    stream_master: str = Field("local[4]", description="Spark master of the live stream, which has its own driver")
    stream_secret: SecretStr = Field(
        SecretStr(""),
        description="spark.authenticate.secret of that master, if it is not local; none: it asks for none",
    )
    stream_tasks: int = Field(
        1,
        ge=1,
        le=1_000,
        description="tasks that fold session events side by side, each with Kafka partitions of its own",
    )

    dagster_port: int = 0
    dagster_user: str = "evcharge"
    dagster_password: SecretStr = Field(
        SecretStr(""), description="login of Dagster's pages; none: who can reach the port on this machine needs none"
    )
    dagster_hosts: str = Field(
        "127.0.0.1,localhost",
        description="names under which a browser may ask for Dagster's pages, with commas between",
    )
    dagster_postgres_url: SecretStr = Field(
        SecretStr(""),
        description="postgresql://user:password@host:port/database for Dagster's runs; none: SQLite in its home",
    )
    run_log_days: Days = Field(7, ge=1, description="days that Dagster keeps the log of a finished run")
    run_days: Days = Field(
        30,
        ge=1,
        description="days that Dagster keeps a finished run, and no less than its log; what it materialized stays for ever",
    )
    supervisor_password: SecretStr = SecretStr("")

    dashboard_port: int = 0
    dashboard_hosts: str = Field(
        "127.0.0.1,localhost",
        description="names under which a browser may ask for the dashboard, with commas between",
    )
    dashboard_proxies: int = Field(
        0, ge=0, le=5, description="proxies before the dashboard whose X-Forwarded-For and -Proto are believed"
    )
    dashboard_tile_url: str = Field(
        "",
        pattern=r"^(|https?://[A-Za-z0-9][A-Za-z0-9.\-]*(:([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}))?/[^\s;,'\"]*)$",
        description="a map behind the stations, e.g. https://tiles.example.org/{z}/{x}/{y}.png; none: the built-in map",
    )
    dashboard_streams: int = Field(
        250, ge=1, le=2_000, description="pages that the dashboard keeps up to date at the same time"
    )
    dashboard_requests_per_minute: int = Field(
        3_000, ge=1, description="requests per minute that the dashboard answers to one address"
    )
    dashboard_user: str = Field(
        "dashboard", pattern=r"^[a-z][a-z0-9_]*$", description="the dashboard's read-only user at every store"
    )
    dashboard_elasticsearch_password: SecretStr = SecretStr("")
    dashboard_cassandra_password: SecretStr = SecretStr("")
    dashboard_clickhouse_password: SecretStr = SecretStr("")
    dashboard_mongodb_password: SecretStr = SecretStr("")

    publish_max_rows: int = Field(1_000_000, ge=1, description="rows of one publication at most")
    publish_min_rows: int = Field(50_000, ge=1, description="rows that are published without waiting")
    publish_interval_s: Seconds = Field(
        90,
        ge=1,
        description="age of the last publication after which a single row will do; the more rows wait, the sooner",
    )
    telemetry_interval_s: Seconds = Field(
        900, ge=1, description="the same for cars' positions, which the live state shows long before"
    )
    publish_timeout_s: Seconds = Field(
        1_800, ge=60, description="after this a hanging publication is ended and tried again"
    )
    load_timeout_s: Seconds = Field(14_400, ge=60, description="the same for a load or a rebuild")
    down_publish_s: Seconds = Field(
        120, ge=0, description="seconds at most that `evcharge stack down` publishes what waits; 0: it does not"
    )
    publish_attempts: int = Field(3, ge=1, description="attempts at a range before it is parked")
    quarantine_share_limit: float = Field(0.2, ge=0, le=1, description="quarantined share that stops a merge")
    quarantine_rows_allowed: int = Field(1_000, ge=0, description="quarantined rows that never stop a merge")
    message_bytes_limit: int = Field(1_000_000, ge=1_000, description="larger messages are quarantined")
    compact_mb: int = Field(
        64, ge=1, le=1_024, description="megabytes of rows, in memory, that compaction puts into one file of the lake"
    )
    compact_running_files: int = Field(
        60, ge=2, description="files of the running hour of a topic from which on it is compacted before it ends"
    )
    quarantine_days: Days = Field(
        0, ge=0, description="days after which quarantined rows lose their message's bytes on main; 0: never"
    )
    left_branch_h: Hours = Field(
        24,
        ge=1,
        description="hours after which maintenance deletes a branch that a kill left, if nobody can need it",
    )
    lake_history_days: Days = Field(
        400,
        ge=1,
        description="days that a garbage collection by lakeFS' own Spark job has to leave of main's past",
    )
    maintain_s: Seconds = Field(
        900, ge=1, description="seconds after which maintenance of the lake begins nothing more; the next one continues"
    )
    event_days_from: Day = Field("2018-01-01", description="first day of event partitions")
    ingest_hours_from: Day = Field("2026-11-01", description="first day of ingest-hour partitions")

    afdc_api_url: str = Field(
        "https://developer.nlr.gov/api/alt-fuel-stations/v1", description="base address of the registry's API"
    )
    afdc_api_key: SecretStr = Field(SecretStr(""), description="free from developer.nlr.gov; none: no polling")
    state_stale_after_h: Hours = Field(
        24, ge=1, description="hours without an event after which a station's state reads as unknown"
    )

    forecast_days: int = Field(
        28, ge=1, le=366, description="days of finished sessions at most that the forecast's model is trained on"
    )

    routing_url: str = Field(
        "", pattern=r"^(https?://\S+)?$", description="routing engine for trips (OSRM or Valhalla); none: estimates"
    )
    routing_kind: Literal["", "osrm", "valhalla"] = Field(
        "", description="what the routing engine is; none: it is asked"
    )

    # all stations of the example registry: on a Sunday, the calmest day, cars came to 534 of them (measured here)
    simulation_stations: int = Field(640, ge=1)
    simulation_vehicles: int = Field(5_000, ge=1)
    simulation_seed: int = Field(7, ge=0)

    @model_validator(mode="after")
    def _native_addresses(self) -> Self:
        ports = {name: port + self.port_offset for name, port in stack_file()["ports"].items()}
        defaults: dict[str, Any] = {
            "kafka_bootstrap_servers": f"127.0.0.1:{ports['kafka']}",
            "minio_endpoint": f"http://127.0.0.1:{ports['minio']}",
            "lakefs_endpoint": f"http://127.0.0.1:{ports['lakefs']}",
            "clickhouse_host": "127.0.0.1",
            "clickhouse_port": ports["clickhouse"],
            "clickhouse_http_port": ports["clickhouse_http"],
            # by name: PySpark sends a token without TLS to "localhost" only
            "spark_remote": f"sc://localhost:{ports['spark_connect']}",
            "elasticsearch_url": f"http://127.0.0.1:{ports['elasticsearch']}",
            "cassandra_contact_points": f"127.0.0.1:{ports['cassandra']}",
            "mongodb_host": f"127.0.0.1:{ports['mongodb']}",
            "dagster_port": ports["dagster_webserver"],
            "dashboard_port": ports["dashboard"],
        }
        for name, value in defaults.items():
            if not getattr(self, name):
                # not through __setattr__: model_fields_set must have only what the user set
                self.__dict__[name] = value
        self.__dict__["home"] = self.home.expanduser().resolve()
        return self

    def port(self, name: str) -> int:
        """The port `name` of stack.toml plus this platform's offset. Raises KeyError if there is none."""
        return int(stack_file()["ports"][name]) + self.port_offset

    def is_external(self, service: str) -> bool:
        """True if the user set the address of `service`: it is then used and not started."""
        return service in EXTERNAL and EXTERNAL[service] in self.model_fields_set

    @property
    def credentials_file(self) -> Path:
        return self.home / "credentials.env"

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    @property
    def feeds_dir(self) -> Path:
        """Folder of the producers' ledgers and saved states. It is outside every store of the platform."""
        return self.home / "feeds"

    @property
    def log_dir(self) -> Path:
        return self.home / "logs"


@cache
def stack_file() -> dict[str, Any]:
    """`stack.toml` as a dict with `versions` and `ports`."""
    return tomllib.loads(STACK_FILE.read_text())


def require_clone(what: str) -> None:
    """Raises UserError outside a clone; `what` begins the message."""
    if not IS_CLONE:
        raise UserError(f"{what} needs a clone of the project; this evcharge is a package installed in {PROJECT}")


def load_settings(**overrides: Any) -> Settings:
    """Settings from overrides, environment, credentials file and defaults. Raises SettingsError."""
    home = Path(overrides.get("home") or os.environ.get("EVCHARGE_HOME") or DEFAULT_HOME).expanduser()
    known = {f"EVCHARGE_{name.upper()}" for name in Settings.model_fields}
    for name in sorted(os.environ):
        if name.startswith("EVCHARGE_") and name not in known:
            raise SettingsError(f"{name} is not a setting; `evcharge settings` lists them")
    try:
        return Settings(_env_file=home / "credentials.env", **overrides)
    except ValidationError as error:
        first = error.errors()[0]
        name = f"EVCHARGE_{str(first['loc'][0]).upper()}" if first["loc"] else "settings"
        raise SettingsError(f"{name}: {first['msg']} (got {first['input']!r})") from None

"""The warehouse's facts of the last twelve months, summed by station, kept in memory and renewed month by month.

Sums of a month are read again when one of its days was loaded since. So all questions share one scan of the current month now
and then, and a question about one network is a matter of milliseconds. Ten million sessions are scanned in about 9 s of
processor time when they are first asked for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evcharge.connections import LoginRefusedError, clickhouse, clickhouse_errors
from evcharge.errors import UserError
from evcharge.log import log
from evcharge.queries import network_sql as sql
from evcharge.settings import Settings

if TYPE_CHECKING:
    from clickhouse_driver import Client

#: The most months of one question: this one and those before it.
MAX_MONTHS = 12
#: After this, a question has the months looked at again, beside itself.
CHECKED_EVERY_S = 20.0
#: After this, it waits for that.
OLDEST_S = 120.0
#: ClickHouse's error codes: unknown database, unknown table; a wrong login.
_NOTHING_THERE, _LOGIN_REFUSED = (81, 60), 516

Numbers = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Fleet:
    """The stations in the order of their hashes (`keys`), each with the registry's fields.

    `network` and `state` are places in `networks` and `states`, which are in order; `last_at` is the end of a station's last
    session in the last twelve months (seconds since the epoch, 0 without one).
    """

    keys: Numbers
    station_id: Numbers
    name: Numbers
    city: Numbers
    state: Numbers
    network: Numbers
    status: Numbers
    removed: Numbers
    outlets: Numbers
    power_kw: Numbers
    is_known: Numbers
    states: tuple[str, ...]
    networks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MonthRows:
    """A month as it was read: its sums by station and local hour, its ports that faults took out; columns by name."""

    first: date
    sums: Mapping[str, Numbers]
    ports: Mapping[str, Numbers]


@dataclass(frozen=True, slots=True)
class Month:
    """A month's sums by station of the fleet, and its rows by station (its place in the fleet) and local hour.

    `by_hour` has the sums of `HOURLY` by network, state and local hour.
    """

    first: date
    by_station: Mapping[str, Numbers]
    by_hour: Numbers
    place: Numbers
    hour: Numbers
    waits: Numbers


#: The sums that are kept by hour for all networks and states.
HOURLY = ("sessions", "energy_kwh", "waits")


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that faults took out in the last twelve months, in the order of the fleet; columns of equal length.

    An outage that is not over yet lasts until the end of the last session that the warehouse has.
    """

    place: Numbers
    evse_id: Numbers
    outages: Numbers
    utility_outages: Numbers
    outage_min: Numbers
    excluded_min: Numbers
    last_at: Numbers
    is_out: Numbers


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that was read. `months` are in order.

    `first_at` and `last_at` are when the first and the last of the sessions ended (s), 0 without one.
    """

    fleet: Fleet
    months: tuple[Month, ...]
    ports: Ports
    first_at: int
    last_at: int


@dataclass(slots=True)
class NetworkFacts:
    """Reads and keeps the facts. Any number of threads may ask."""

    settings: Settings
    _facts: Facts | None = None
    _checked_at: float = float("-inf")
    _versions: dict[tuple[str, date], int] = field(default_factory=dict)
    _rows: dict[date, MonthRows] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _renewing: bool = False

    def get(self, now: datetime) -> Facts:
        """The facts as they were `CHECKED_EVERY_S` ago or later. Raises ServerDownError, UserError."""
        age_s = time.monotonic() - self._checked_at
        facts = self._facts
        if facts is None or age_s > OLDEST_S:
            with self._lock:
                if self._facts is None or time.monotonic() - self._checked_at > OLDEST_S:
                    self._renew(now)
                facts = self._facts
            assert facts is not None
        elif age_s > CHECKED_EVERY_S and not self._renewing:
            self._renewing = True
            threading.Thread(target=self._renew_beside, args=(now,), name="network-facts", daemon=True).start()
        return facts

    def _renew_beside(self, now: datetime) -> None:
        try:
            with self._lock:
                self._renew(now)
        except Exception as error:  # the next question that has to wait for it raises what is wrong
            log.warning("facts were not renewed", reason=str(error))
        finally:
            self._renewing = False

    def _renew(self, now: datetime) -> None:
        """Reads the months that were loaded since they were read, and those that were not read yet."""
        with warehouse(self.settings, use_numpy=True) as client:
            self._read(client, now)
        self._checked_at = time.monotonic()

    def _read(self, client: Client, now: datetime) -> None:
        versions = _versions(client)
        wanted = months_before(now, MAX_MONTHS)
        rows: dict[date, MonthRows] = {}
        for first in wanted:
            key = ("fact_charging_sessions", first)
            is_kept = first in self._rows and versions.get(key) == self._versions.get(key)
            rows[first] = self._rows[first] if is_kept else _read_month(client, first)
        if self._facts is not None and versions == self._versions and rows.keys() == self._rows.keys():
            return
        fleet = _fleet(client, list(rows.values()))
        used = [one.sums for one in rows.values() if len(one.sums["station"])]
        first_at = min((int(sums["first_at"].min()) for sums in used), default=0)
        last_at = max((int(sums["last_at"].max()) for sums in used), default=0)
        months = tuple(_month(one, fleet) for one in rows.values())
        ports = _ports(client, list(rows.values()), fleet, last_at)
        self._facts = Facts(fleet, months, ports, first_at, last_at)
        self._rows, self._versions = rows, versions


def _month(rows: MonthRows, fleet: Fleet) -> Month:
    place = np.searchsorted(fleet.keys, rows.sums["station"])
    count, groups = len(fleet.keys), len(fleet.networks) * len(fleet.states)
    by_station: dict[str, Numbers] = {name: np.bincount(place, rows.sums[name], count) for name in sql.SUMS}
    by_station["last_at"] = np.zeros(count)
    np.maximum.at(by_station["last_at"], place, rows.sums["last_at"])
    hour = rows.sums["hour"].astype(np.intp)
    group = (fleet.network[place] * len(fleet.states) + fleet.state[place]) * 24 + hour
    by_hour = np.stack([np.bincount(group, rows.sums[name], groups * 24) for name in HOURLY])
    waited = np.flatnonzero(rows.sums["waits"])
    return Month(
        rows.first,
        by_station,
        by_hour.reshape(len(HOURLY), len(fleet.networks), len(fleet.states), 24),
        place[waited],
        hour[waited],
        rows.sums["waits"][waited],
    )


def _ports(client: Client, months: Sequence[MonthRows], fleet: Fleet, last_at: int) -> Ports:
    still: dict[int, tuple[int, bool]] = {}
    more: list[tuple[int, float, float]] = []

    def close(port: int, until: int) -> None:
        since, is_utility = still[port]
        minutes = max(until - since, 0) / 60
        more.append((port, minutes, minutes if is_utility else 0.0))

    for month in months:
        if still:
            arguments = {**_range(month.first), "ports": sorted(still)}
            port, started = _columns(client, sql.FIRST_STARTS, arguments, 2)
            for number, at in zip(port.tolist(), started.tolist(), strict=True):
                close(number, at)
                del still[number]
        rows = month.ports
        for row in np.flatnonzero(rows["open_since"]).tolist():
            still[int(rows["port"][row])] = int(rows["open_since"][row]), bool(rows["open_is_utility"][row])
    for port_ in still:
        close(port_, last_at)
    columns = {name: np.concatenate([month.ports[name] for month in months]) for name in _PORT_COLUMNS}
    ports, first, index = np.unique(columns["port"], return_index=True, return_inverse=True)

    def total(name: str) -> Numbers:
        return np.bincount(index, columns[name], len(ports))

    outage_min, excluded_min = total("outage_min"), total("excluded_min")
    if more:
        numbers, minutes, excluded = zip(*more, strict=True)
        # said to be uint64: an array of such numbers would be one of floats
        places = np.searchsorted(ports, np.array(numbers, np.uint64))
        np.add.at(outage_min, places, minutes)
        np.add.at(excluded_min, places, excluded)
    last = np.zeros(len(ports))
    np.maximum.at(last, index, columns["last_at"])
    return Ports(
        np.searchsorted(fleet.keys, columns["station"][first]),
        columns["evse_id"][first],
        total("outages").astype(np.int64),
        total("utility_outages").astype(np.int64),
        outage_min,
        excluded_min,
        last.astype(np.int64),
        np.isin(ports, np.array(sorted(still), np.uint64)),
    )


def months_before(now: datetime, count: int) -> list[date]:
    """The first days of the month of `now` (UTC) and of those before it, `count` in all, the earliest first."""
    at = now.astimezone(UTC)
    numbers = range(at.year * 12 + at.month - count, at.year * 12 + at.month)
    return [date(number // 12, number % 12 + 1, 1) for number in numbers]


def month_end(first: date) -> date:
    """The first day of the next month."""
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)


def _range(first: date) -> dict[str, datetime]:
    end = month_end(first)
    # without a zone: the driver writes the wall clock of such times, and the column is in UTC
    since, to = (datetime(day.year, day.month, 1) for day in (first, end))  # noqa: DTZ001
    return {"since": since, "to": to}


def _versions(client: Client) -> dict[tuple[str, date], int]:
    table, month, loaded_ms = _columns(client, sql.VERSIONS, {}, 3)
    rows = zip(table.tolist(), month.tolist(), loaded_ms.tolist(), strict=True)
    return {(str(name), first): int(ms) for name, first, ms in rows}


_SUM_COLUMNS = ("station", "hour", "first_at", "last_at", *sql.SUMS)
_PORT_COLUMNS = (
    *("port", "station", "evse_id", "outages", "utility_outages", "outage_min", "excluded_min", "last_at"),
    *("open_since", "open_is_utility"),
)


def _read_month(client: Client, first: date) -> MonthRows:
    sums = _columns(client, sql.MONTH, _range(first), len(_SUM_COLUMNS))
    ports = _columns(client, sql.PORTS, _range(first), len(_PORT_COLUMNS))
    return MonthRows(first, dict(zip(_SUM_COLUMNS, sums, strict=True)), dict(zip(_PORT_COLUMNS, ports, strict=True)))


def _fleet(client: Client, months: Sequence[MonthRows]) -> Fleet:
    columns = _columns(client, sql.STATIONS, {}, 10)
    known = columns[0]
    strangers = np.setdiff1d(np.concatenate([month.sums["station"] for month in months]), known)
    if len(strangers):
        keys, names = _columns(client, sql.UNKNOWN_STATIONS, {}, 2)
        named = dict(zip(keys.tolist(), names.tolist(), strict=True))
        ids = np.array([named.get(key, "") for key in strangers.tolist()], object)
        texts, zeros = np.full(len(strangers), "", object), np.zeros(len(strangers))
        more = (strangers, ids, texts, texts, texts, texts, texts, zeros, zeros, zeros)
        columns = [np.concatenate([column, extra]) for column, extra in zip(columns, more, strict=True)]
    is_known = np.arange(len(columns[0])) < len(known)
    order = np.argsort(columns[0], kind="stable")
    columns = [column[order] for column in columns]
    key, station_id, name, city, state, network, status, removed, outlets, power_kw = columns
    states, state = np.unique(state.astype(str), return_inverse=True)
    networks, network = np.unique(network.astype(str), return_inverse=True)
    return Fleet(
        *(key, station_id, name, city, state, network, status, removed, outlets, power_kw, is_known[order]),
        tuple(states.tolist()),
        tuple(networks.tolist()),
    )


def _columns(client: Client, query: str, arguments: Mapping[str, Any], count: int) -> list[Numbers]:
    columns = client.execute(query, dict(arguments), columnar=True)
    if not columns:
        return [np.zeros(0, np.uint64) for _ in range(count)]
    # texts as objects: a column of them may be an array, an object array or a list
    return [
        np.asarray(column, object) if np.asarray(column).dtype.kind in "UO" else np.asarray(column)
        for column in columns
    ]


@contextmanager
def warehouse(settings: Settings, *, use_numpy: bool = False) -> Iterator[Client]:
    """A client in the warehouse's database. Raises ServerDownError, UserError if there is no warehouse yet.

    It logs in without the database: a login that names one that is missing ends the hosted engine.
    """
    from clickhouse_driver.errors import ServerException

    try:
        with clickhouse_errors(settings):
            client = clickhouse(settings, database="default", use_numpy=use_numpy)
            try:
                client.execute(f"USE {settings.clickhouse_database}")
                yield client
            finally:
                client.disconnect()
    except ServerException as error:
        if error.code in _NOTHING_THERE:
            raise UserError("there is no warehouse yet: `make up` makes its tables") from error
        if error.code == _LOGIN_REFUSED:
            address = f"{settings.clickhouse_host}:{settings.clickhouse_port}"
            raise LoginRefusedError(
                f"clickhouse at {address} refuses the login of {settings.clickhouse_user}"
            ) from error
        raise

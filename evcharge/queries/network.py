"""The operator's page: how a network of stations is used, what fails, and how well it is known.

Uptime follows 23 CFR 680.116(b), "Minimum uptime": a port's uptime over the previous twelve months is
(525,600 - (minutes of outage - minutes excluded)) / 525,600. Of outages the warehouse knows those that begin with a session
that a fault ended; nobody reports a repair, so they last until the next session at the port: the outage is at most as long as
is shown. Excluded is what the utility's network caused (`PowerLoss`). Not known are ports that were offline or broken without
a session, closures by the registry (it has the present only), and the regulation's other exclusions: scheduled maintenance,
vandalism, natural disasters, a car's fault, hours outside of opening hours.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from evcharge.errors import UserError
from evcharge.queries.freshness import utc_text
from evcharge.queries.network_facts import MAX_MONTHS, Facts, Numbers, month_end, months_before
from evcharge.queries.network_sql import SUMS

#: Rows of a table on the page, and in its CSV file.
PAGE_ROWS, CSV_ROWS = 100, 100_000
HEATMAP_STATIONS = 25
#: An open station without a session for this long is silent.
SILENT_AFTER_DAYS = 7
#: Minutes of a year in 23 CFR 680.116(b), and the least uptime (%) that it asks for.
YEAR_MIN, LEAST_UPTIME_PERCENT = 525_600, 97.0
MAX_TEXT = 1_000
#: The least power (kW) of a class: AC ends at 19.2 kW (J1772: 80 A x 240 V); DC in the steps in which sites are built.
POWER_CLASSES = (
    *(("power unknown", 0.0), ("AC", 0.01), ("DC below 100 kW", 19.3)),
    *(("DC 100 to 249 kW", 100.0), ("DC from 250 kW", 250.0)),
)
#: Rules of the data's quality: code, what keeps it, and which sums break it.
QUALITY_RULES = (
    ("STATION_IS_KNOWN", "the session's station is in the registry", "unknown_station"),
    ("ENERGY_FITS_POWER", "its mean power is at most the station's strongest, with 5 % for the meter", "unfit_energy"),
    ("SOC_DOES_NOT_FALL", "the car's battery is not emptier at the end", "falling_soc"),
    ("IDLE_FITS_STAY", "idle time is not longer than the stay", "long_idle"),
)


@dataclass(frozen=True, slots=True)
class NetworkQuestion:
    """Sessions that ended in the last `months` (1 to 12, the running one included; UTC), of a network and a state.

    Both are exact names; None: all. Raises UserError for values out of range.
    """

    network: str | None = None
    state: str | None = None
    months: int = MAX_MONTHS

    def __post_init__(self) -> None:
        if not 1 <= self.months <= MAX_MONTHS:
            raise UserError(f"months {self.months}: it must be between 1 and {MAX_MONTHS}")
        for text in (self.network, self.state):
            if text is not None and len(text) > MAX_TEXT:
                raise UserError(f"a network's or state's name has at most {MAX_TEXT:,} characters")

    def to_json(self) -> dict[str, Any]:
        return {"network": self.network, "state": self.state, "months": self.months}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: a `key` for programs, a title for people, and a unit or nothing."""

    key: str
    title: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with up to `CSV_ROWS` rows."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Sequence[Any]]

    def to_json(self, limit: int = PAGE_ROWS) -> dict[str, Any]:
        return {
            "title": self.title,
            "columns": [{"key": column.key, "title": column.title, "unit": column.unit} for column in self.columns],
            "rows": [list(row) for row in self.rows[:limit]],
            "truncated": len(self.rows) > limit,
        }

    def to_csv(self) -> str:
        """RFC 4180, with the columns' keys in the first line. No cell begins a formula of a spreadsheet."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\r\n")
        writer.writerow(column.key for column in self.columns)
        writer.writerows([_harmless(cell) for cell in row] for row in self.rows)
        return out.getvalue()


@dataclass(frozen=True, slots=True)
class NetworkAnswer:
    """Everything on the page. `data_to` is the end of the last session that the warehouse has, null without any."""

    question: NetworkQuestion
    data_to: str | None
    note: str | None
    networks: tuple[str, ...]
    states: tuple[str, ...]
    summary: Mapping[str, Any]
    tables: Mapping[str, Table]
    heatmap: Mapping[str, Any]
    utilisation: Mapping[str, Any]

    def table(self, name: str) -> Table:
        """Raises UserError if there is no such table."""
        if name not in self.tables:
            raise UserError(f"no table {name!r}; there are {', '.join(self.tables)}")
        return self.tables[name]

    def to_json(self) -> dict[str, Any]:
        return {
            "question": self.question.to_json(),
            "data_to": self.data_to,
            "note": self.note,
            "networks": list(self.networks),
            "states": list(self.states),
            "summary": dict(self.summary),
            "tables": {name: table.to_json() for name, table in self.tables.items()},
            "heatmap": dict(self.heatmap),
            "utilisation": dict(self.utilisation),
        }


def network(facts: Facts, question: NetworkQuestion, now: datetime) -> NetworkAnswer:
    """The answer, from facts in memory."""
    view = _View(facts, question, now)
    note = None
    if not view.totals["sessions"][view.shown].sum():
        note = "no session of these stations has ended in these months"
        if not facts.last_at:
            note = "the warehouse has no session yet: the first day is loaded a few minutes after the platform starts"
    tables: dict[str, Callable[[_View], Table]] = {
        "by_power_class": _by_power_class,
        "stations": _stations,
        "hours": _hours,
        "silent_stations": _silent_stations,
        "faults": _faults,
        "uptime": _uptime,
        "monthly": _monthly,
        "data_quality": _data_quality,
    }
    return NetworkAnswer(
        question,
        utc_text(view.data_to) if view.data_to else None,
        note,
        tuple(filter(None, facts.fleet.networks)),
        tuple(filter(None, facts.fleet.states)),
        _summary(view),
        {name: table(view) for name, table in tables.items()},
        _heatmap(view),
        view.utilisation(view.shown),
    )


class _View:
    """The facts of a question: its months, which stations it is about, and each station's totals."""

    def __init__(self, facts: Facts, question: NetworkQuestion, now: datetime) -> None:
        self.facts, self.fleet, self.question, self.now = facts, facts.fleet, question, now
        wanted = set(months_before(now, question.months))
        self.months = [month for month in facts.months if month.first in wanted]
        fleet = self.fleet
        self.shown = _named(fleet.networks, fleet.network, question.network)
        self.shown &= _named(fleet.states, fleet.state, question.state)
        names = (*SUMS, "last_at")
        self.sums = {name: [month.by_station[name] for month in self.months] for name in names}
        self.totals = {name: np.sum(self.sums[name], axis=0) for name in SUMS}
        self.last_at = np.max([month.by_station["last_at"] for month in facts.months], axis=0)
        self.data_to = datetime.fromtimestamp(facts.last_at, UTC) if facts.last_at else None
        first_at = datetime.fromtimestamp(facts.first_at, UTC) if facts.first_at else now
        self.begun_at = max(first_at, _midnight(min(wanted)))
        #: stations that could have had sessions
        self.open = ((fleet.removed == 0) & (fleet.status != "P") & fleet.is_known) | (self.totals["sessions"] > 0)

    def hours_between(self, since: datetime, to: datetime) -> float:
        return max((to - since).total_seconds(), 0.0) / 3600

    def period_h(self) -> float:
        """The hours for which the warehouse has sessions, within the question's months."""
        return self.hours_between(self.begun_at, self.data_to) if self.data_to else 0.0

    def utilisation(self, chosen: Numbers) -> dict[str, Any]:
        """How much of the time that the outlets of the chosen stations were there a car was plugged in."""
        outlets = float(self.fleet.outlets[chosen & self.open].sum())
        occupied_h = float(self.totals["occupied_s"][chosen].sum()) / 3600
        outlet_h = outlets * self.period_h()
        return {
            "percent": _percent(occupied_h, outlet_h),
            "occupied_h": round(occupied_h, 1),
            "outlet_h": round(outlet_h, 1),
            "outlets": int(outlets),
        }


def _summary(view: _View) -> dict[str, Any]:
    totals = {name: float(total[view.shown].sum()) for name, total in view.totals.items()}
    sessions = totals["sessions"]
    return {
        "stations": int((view.shown & view.open).sum()),
        "outlets": view.utilisation(view.shown)["outlets"],
        "sessions": int(sessions),
        "energy_kwh": round(totals["energy_kwh"], 3),
        "utilisation_percent": view.utilisation(view.shown)["percent"],
        "failed_starts": int(totals["failed_starts"]),
        "failed_starts_percent": _percent(totals["failed_starts"], sessions),
        "idle_h": round(totals["idle_s"] / 3600, 1),
        "idle_percent": _percent(totals["idle_s"], totals["occupied_s"]),
        "waits": int(totals["waits"]),
        "mean_wait_min": round(totals["wait_s"] / 60 / totals["waits"], 1) if totals["waits"] else None,
        "faults": int(totals["faults"]),
        "from": view.begun_at.date().isoformat(),
    }


_USE = (
    Column("sessions", "Sessions"),
    Column("energy_kwh", "Energy", "kWh"),
    Column("utilisation_percent", "Utilisation", "%"),
    Column("failed_starts", "Failed starts"),
    Column("failed_starts_percent", "Failed", "%"),
    Column("idle_h", "Full but plugged in", "h"),
    Column("idle_percent", "Share of the stay", "%"),
    Column("waits", "Waits"),
    Column("mean_wait_min", "Mean wait", "min"),
    Column("faults", "Faults"),
)


def _use(sums: Mapping[str, float], outlet_h: float) -> list[Any]:
    sessions, waits = sums["sessions"], sums["waits"]
    return [
        int(sessions),
        round(sums["energy_kwh"], 3),
        _percent(sums["occupied_s"] / 3600, outlet_h),
        int(sums["failed_starts"]),
        _percent(sums["failed_starts"], sessions),
        round(sums["idle_s"] / 3600, 1),
        _percent(sums["idle_s"], sums["occupied_s"]),
        int(waits),
        round(sums["wait_s"] / 60 / waits, 1) if waits else None,
        int(sums["faults"]),
    ]


def _by_power_class(view: _View) -> Table:
    classes = np.digitize(view.fleet.power_kw.astype(float), [least for _, least in POWER_CLASSES[1:]])
    rows = []
    for number, (name, _) in enumerate(POWER_CLASSES):
        chosen = view.shown & (classes == number)
        if not (chosen & view.open).any():
            continue
        sums = {key: float(total[chosen].sum()) for key, total in view.totals.items()}
        used = view.utilisation(chosen)
        rows.append([name, int((chosen & view.open).sum()), used["outlets"], *_use(sums, used["outlet_h"])])
    columns = (Column("power_class", "Power"), Column("stations", "Stations"), Column("outlets", "Outlets"), *_USE)
    return Table("Use by power", columns, rows)


_PLACE = (
    Column("station_id", "Id"),
    Column("name", "Station"),
    Column("city", "City"),
    Column("state", "State"),
    Column("network", "Network"),
)


def _place(view: _View, index: int) -> list[Any]:
    fleet = view.fleet
    texts = (fleet.station_id[index], fleet.name[index], fleet.city[index])
    return [*map(str, texts), fleet.states[fleet.state[index]], fleet.networks[fleet.network[index]]]


def _named(names: Sequence[str], places: Numbers, wanted: str | None) -> Numbers:
    """Which of `places` in `names` have the wanted name; all of them if none is wanted."""
    if wanted is None:
        return np.ones(len(places), bool)
    return np.asarray(places == names.index(wanted)) if wanted in names else np.zeros(len(places), bool)


def _stations(view: _View) -> Table:
    chosen = np.flatnonzero(view.shown & view.open)
    order = chosen[np.argsort(-view.totals["sessions"][chosen], kind="stable")][:CSV_ROWS]
    period_h = view.period_h()
    sums = {name: total[order].tolist() for name, total in view.totals.items()}
    outlets = view.fleet.outlets[order].tolist()
    rows = _Lazy(
        len(order),
        lambda row: [
            *_place(view, order[row]),
            int(outlets[row]),
            *_use({name: values[row] for name, values in sums.items()}, outlets[row] * period_h),
        ],
    )
    return Table("Stations", (*_PLACE, Column("outlets", "Outlets"), *_USE), rows)


def _hours(view: _View) -> Table:
    by_hour = np.sum([month.by_hour for month in view.months], axis=0)
    fleet, question = view.fleet, view.question
    networks = _named(fleet.networks, np.arange(len(fleet.networks)), question.network)
    states = _named(fleet.states, np.arange(len(fleet.states)), question.state)
    sums = by_hour[:, networks][:, :, states].sum(axis=(1, 2))
    columns = (
        Column("hour", "Local hour"),
        Column("sessions", "Sessions begun"),
        Column("energy_kwh", "Their energy", "kWh"),
        Column("waits", "Waits"),
    )
    return Table(
        "Hours of the day", columns, [[h, int(s), round(float(e), 3), int(w)] for h, (s, e, w) in enumerate(sums.T)]
    )


def _silent_stations(view: _View) -> Table:
    fleet, data_to = view.fleet, view.data_to
    since = int((data_to - timedelta(days=SILENT_AFTER_DAYS)).timestamp()) if data_to else 0
    open_now = (fleet.removed == 0) & (fleet.status == "E") & fleet.is_known
    chosen = np.flatnonzero(view.shown & open_now & (view.last_at < since)) if data_to else np.zeros(0, int)
    order = chosen[np.argsort(view.last_at[chosen], kind="stable")][:CSV_ROWS]
    rows = _Lazy(
        len(order),
        lambda row: [
            *_place(view, order[row]),
            int(fleet.outlets[order[row]]),
            _time(int(view.last_at[order[row]])),
        ],
    )
    columns = (*_PLACE, Column("outlets", "Outlets"), Column("last_session_at", "Last session ended"))
    first_at = view.facts.first_at
    # where the warehouse's sessions begin later, nobody knows whether the stations were silent before
    how_long = f"since {_day(first_at)}" if first_at > since else f"for {SILENT_AFTER_DAYS} days"
    return Table(f"Open stations without a session {how_long}", columns, rows)


def uptime_percent(outage_min: Numbers, excluded_min: Numbers) -> Numbers:
    """Each port's uptime over the previous twelve months (%), by 23 CFR 680.116(b)(3)."""
    return 100 * (YEAR_MIN - (outage_min - excluded_min)) / YEAR_MIN


def _uptime(view: _View) -> Table:
    ports = view.facts.ports
    percent = uptime_percent(ports.outage_min, ports.excluded_min)
    chosen = np.flatnonzero(view.shown[ports.place])
    order = chosen[np.argsort(percent[chosen], kind="stable")][:CSV_ROWS]

    def row(number: int) -> list[Any]:
        port = order[number]
        return [
            *_place(view, int(ports.place[port])),
            str(ports.evse_id[port]),
            round(float(percent[port]), 3),
            bool(percent[port] > LEAST_UPTIME_PERCENT),
            int(ports.outages[port]),
            round(float(ports.outage_min[port]), 1),
            round(float(ports.excluded_min[port]), 1),
            bool(ports.is_out[port]),
        ]

    columns = (
        *_PLACE,
        Column("evse_id", "Port"),
        Column("uptime_percent", "Uptime", "%"),
        Column("is_enough", f"Above {LEAST_UPTIME_PERCENT:g} %"),
        Column("outages", "Outages"),
        Column("outage_min", "Outage at most", "min"),
        Column("excluded_min", "Excluded", "min"),
        Column("is_out", "Out since then"),
    )
    title = (
        "Uptime of ports with outages over twelve months (23 CFR 680.116(b)); the others have 100 % as far as is known"
    )
    return Table(title, columns, _Lazy(len(order), row))


def _faults(view: _View) -> Table:
    ports, count = view.facts.ports, len(view.fleet.keys)
    utility = np.bincount(ports.place, ports.utility_outages, count)
    ground = np.bincount(ports.place, ports.outages, count) - utility
    out = np.bincount(ports.place, ports.is_out, count)
    last_at = np.zeros(count)
    np.maximum.at(last_at, ports.place, ports.last_at)
    faults = np.where(view.shown, ground + utility, 0)
    order = np.argsort(-faults, kind="stable")[: min(int((faults > 0).sum()), CSV_ROWS)]
    rows = _Lazy(
        len(order),
        lambda row: [
            *_place(view, order[row]),
            *(int(counts[order[row]]) for counts in (ground, utility, out)),
            _time(int(last_at[order[row]])),
        ],
    )
    columns = (
        *_PLACE,
        Column("ground_faults", "Ground faults"),
        Column("power_losses", "Power losses"),
        Column("ports_out", "Ports out since then"),
        Column("last_at", "Last"),
    )
    return Table("Sessions that a fault ended in twelve months", columns, rows)


def _monthly(view: _View) -> Table:
    outlets = float(view.fleet.outlets[view.shown & view.open].sum())
    rows = []
    for month in view.months:
        sums = {name: float(month.by_station[name][view.shown].sum()) for name in SUMS}
        end = min(_midnight(month_end(month.first)), view.data_to or view.now)
        hours = view.hours_between(max(_midnight(month.first), view.begun_at), end)
        rows.append([f"{month.first:%Y-%m}", *_use(sums, outlets * hours)])
    return Table("Months (UTC, by the end of the session)", (Column("month", "Month"), *_USE), rows)


def _data_quality(view: _View) -> Table:
    fleet = view.fleet
    broken = view.totals | {"unknown_station": np.where(fleet.is_known, 0, view.totals["sessions"])}
    names, index = fleet.networks, fleet.network[view.shown]
    sessions = np.bincount(index, view.totals["sessions"][view.shown], len(names))
    rows: list[list[Any]] = []
    for code, description, key in QUALITY_RULES:
        counts = np.bincount(index, broken[key][view.shown], len(names))
        rows += [
            [name, code, description, int(total), int(count), _percent(count, total)]
            for name, total, count in zip(names, sessions, counts, strict=True)
            if total
        ]
    rows.sort(key=lambda row: (-row[4], row[0], row[1]))
    columns = (
        Column("network", "Network"),
        Column("rule", "Rule"),
        Column("description", "What keeps it"),
        Column("sessions", "Sessions"),
        Column("broken", "Break it"),
        Column("broken_percent", "Share", "%"),
    )
    title = "Quality of the archived sessions by network and rule; what broke a row rule is in the lake's quarantine"
    return Table(title, columns, rows[:CSV_ROWS])


def _heatmap(view: _View) -> dict[str, Any]:
    """Waits by local hour at the stations with the most waits."""
    waits = np.where(view.shown, view.totals["waits"], 0)
    order = np.argsort(-waits, kind="stable")[:HEATMAP_STATIONS]
    order = order[waits[order] > 0]
    line = np.full(len(waits), -1)
    line[order] = np.arange(len(order))
    counts = np.zeros((len(order), 24))
    for month in view.months:
        rows = np.flatnonzero(line[month.place] >= 0)
        np.add.at(counts, (line[month.place[rows]], month.hour[rows]), month.waits[rows])
    return {
        "hours": list(range(24)),
        "rows": [
            {
                "station_id": str(view.fleet.station_id[place]),
                "name": str(view.fleet.name[place]),
                "waits": counts[number].astype(int).tolist(),
            }
            for number, place in enumerate(order.tolist())
        ],
    }


class _Lazy(Sequence[Sequence[Any]]):
    """Rows that are made when they are read: a page shows a hundred of up to 100,000."""

    def __init__(self, count: int, row: Callable[[int], Sequence[Any]]) -> None:
        self._count, self._row = count, row

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._row(number) for number in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return self._row(index % self._count)


def _percent(part: float, whole: float) -> float | None:
    return round(100 * float(part) / float(whole), 2) if whole else None


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _time(seconds: int) -> str | None:
    return utc_text(datetime.fromtimestamp(seconds, UTC)) if seconds else None


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell

"""The inputs of a report: a simulation's sessions and stations, and recorded sites for comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Self
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from evcharge.errors import UserError
from evcharge.recorded.fitting import Sample, read
from evcharge.recorded.readers import Recording
from evcharge.simulated import offline_run as simulating
from simulation.network import SiteKind

#: The columns of simulated sessions that the report reads; `local_…` is the station's time, everything else UTC.
SESSIONS = pa.schema(
    simulating.SESSIONS.field(name)
    for name in (
        *("station_id", "evse_id", "local_day", "local_start_hour", "stay_h", "energy_kwh"),
        *("queue_wait_s", "idle_s", "soc_start_percent"),
    )
)
_NULLABLE = {"soc_start_percent"}


@dataclass(frozen=True)
class SimulatedRun:
    """The result of a simulation from `start_at` to `end_at` (aware).

    `sessions` has the columns of `SESSIONS` and maybe others; it holds only sessions that ended by `end_at`. `stations` has
    site kind, number of EVSEs and IANA time zone by station id, also for stations without a session. `abandoned` and
    `balked` count, by site kind, the visits that gave up waiting and those that left at once.
    """

    sessions: pa.Table
    stations: Mapping[str, tuple[str, int, str]]
    start_at: datetime
    end_at: datetime
    seed: int
    abandoned: Mapping[str, int] = field(default_factory=dict)
    balked: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RealSite:
    """Recorded sessions for one kind of site; `evses` is 0 where their number is unknown."""

    site_kind: SiteKind
    name: str
    sample: Sample
    evses: int

    @classmethod
    def of(cls, site_kind: SiteKind, recording: Recording) -> Self:
        """A recording of one site. Raises UserError if it has several sites or none."""
        if len(recording.stations) != 1:
            raise UserError(f"{recording.path}: sessions of {len(recording.stations)} sites; give a recording of one")
        (station,) = recording.stations
        sample = read(recording, ZoneInfo(station["time_zone"]))
        return cls(site_kind, station["station_name"], sample, len(station["evses"]))

    @property
    def days_with_sessions(self) -> int:
        """Days with a session. If they are far fewer than all days, gaps lower the occupancy and raise the dispersion."""
        return int((self.sample.counts > 0).sum())

    @property
    def last(self) -> date:
        return self.sample.first + timedelta(days=int(self.sample.days[-1]))


def checked(run: SimulatedRun) -> pa.Table:
    """The run's sessions in the types of `SESSIONS`, each with its values and a known station.

    Raises UserError that names row and column.
    """
    if run.end_at <= run.start_at:
        raise UserError(f"simulated from {run.start_at} to {run.end_at}: the end must be after the start")
    if unknown := {kind for kind, _, _ in run.stations.values()} - set(SiteKind):
        raise UserError(f"stations of the kind {min(unknown)!r}: kinds are {', '.join(SiteKind)}")
    if empty := [station_id for station_id, (_, evses, _) in run.stations.items() if evses < 1]:
        raise UserError(f"station {empty[0]} has no EVSE: a report needs the number of each station's EVSEs")
    if missing := [name for name in SESSIONS.names if name not in run.sessions.column_names]:
        raise UserError(f"simulated sessions: the column {missing[0]} is missing; simulate again with this version")
    if not len(run.sessions):
        raise UserError("there is no simulated session to report: simulate longer, or more cars")
    columns = []
    for column in SESSIONS:
        try:
            values = run.sessions[column.name].cast(column.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise UserError(f"simulated sessions, column {column.name}: not {column.type} ({error})") from error
        good = pc.is_valid(values)
        if pa.types.is_floating(column.type):
            possible = pc.and_(pc.is_finite(values), pc.greater_equal(values, 0))
            good = pc.fill_null(possible, column.name in _NULLABLE)
        elif column.name == "station_id":
            good = pc.is_in(values, value_set=pa.array(list(run.stations), pa.string()))
        if not pc.all(good).as_py():
            row = pc.index(good, False).as_py()
            raise UserError(f"simulated sessions, row {row + 1}, column {column.name}: {values[row]} is impossible")
        columns.append(values)
    return pa.table(columns, schema=SESSIONS)

"""The tables that loads fill, and what a load reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

#: Finished sessions, partitioned by the UTC day of `ended_at`.
FACT = "fact_charging_sessions"
#: Where each `stopped` record of the archive was in Kafka, in the order of sessions.
ENDS = "session_end"
#: Positions of connected cars, partitioned by the UTC day of `occurred_at`.
POSITIONS = "fact_vehicle_positions"
STATIONS = "dim_station"
VEHICLES = "dim_vehicle"
EV_MODELS = "dim_ev_model"
#: `loaded_day.date` of a table that has no days.
NO_DAY = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load did: the commit that it read, the rows of each day (0 for a day without rows), and new vehicles.

    Of the `stopped` records that it read, `resent` did not count because the same event counts already, `second_ends`
    because their session has another end that counts. Of the days `added_to` it read only what was new.
    """

    lake_commit: str
    rows_by_day: dict[date, int]
    new_vehicles: int = 0
    resent: int = 0
    second_ends: int = 0
    added_to: tuple[date, ...] = ()

    @property
    def rows(self) -> int:
        return sum(self.rows_by_day.values())

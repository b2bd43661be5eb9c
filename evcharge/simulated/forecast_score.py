"""How good the forecast of stations is on the simulator's truth: an offline run, whose last days are forecast.

The forecast gets what the warehouse would have: finished sessions by station and outlet, not the kinds of the sites.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evcharge.errors import UserError
from evcharge.forecast.metrics import HorizonScore
from evcharge.forecast.model import Model
from evcharge.forecast.past_score import forecasts, sampled_times
from evcharge.forecast.sessions import Sessions, Sites
from evcharge.forecast.training import DAY_S, cohort_end_s, counts_of, train
from evcharge.simulated.offline_run import Scenario
from simulation import Network

#: So many samples are forecast at most: 0.4 ms each.
MOST_SAMPLES = 60_000
_CHUNK = timedelta(hours=6)
_COLUMNS = (
    *("session_id", "station_id", "evse_id", "occurred_at", "started_at", "idle_s", "queue_wait_s"),
    *("state_of_charge_start", "state_of_charge"),
)


@dataclass(frozen=True)
class SimulatedScore:
    """The scores of a simulated network: `tested_days` were forecast by a model of the `trained_days` before."""

    seed: int
    stations: int
    trained_days: float
    tested_days: float
    sessions: int
    horizons: list[HorizonScore]

    def to_json(self) -> dict[str, Any]:
        return {
            "truth": "simulation",
            "seed": self.seed,
            "stations": self.stations,
            "trained_days": self.trained_days,
            "tested_days": self.tested_days,
            "sessions": self.sessions,
            "horizons": [horizon.to_json() for horizon in self.horizons],
        }


def score_simulated(
    stations: int = 200,
    days: float = 28.0,
    seed: int = 7,
    tested_days: float = 7.0,
    on_progress: Callable[[timedelta], None] | None = None,
) -> SimulatedScore:
    """Simulates `days` of `stations` of the built-in network and scores the forecasts of the last `tested_days`.

    Every station is sampled at the same instants, whatever its state is. Raises UserError for impossible numbers of days.
    """
    if not 0 < tested_days < days:
        raise UserError(f"{tested_days:g} of {days:g} days cannot be tested: some must be left to learn from")
    scenario = Scenario(seed=seed, stations=stations)
    sessions = simulated_sessions(scenario, timedelta(days=days), on_progress)
    since_s = scenario.begins_at.timestamp()
    until_s = since_s + days * DAY_S
    cut_s = until_s - tested_days * DAY_S
    past = sessions.where(sessions.ended_s < cut_s)
    if not len(past):
        raise UserError("no session ended before the tested days: simulate more days or stations")
    counts = counts_of(past, since_s, cohort_end_s(since_s, cut_s))
    model: Model = train(counts, past, since_s, cut_s, "a simulation").model
    times_s = sampled_times(cut_s, until_s, stations, MOST_SAMPLES)
    found = forecasts(model, sessions, since_s, times_s)
    return SimulatedScore(seed, stations, days - tested_days, tested_days, len(sessions), found.scores())


def simulated_sessions(
    scenario: Scenario, duration: timedelta, on_progress: Callable[[timedelta], None] | None = None
) -> Sessions:
    """The finished sessions of a simulation, failed starts too. Those that still run at its end are not among them."""
    simulation = scenario.begin()
    at, until = scenario.begins_at, scenario.begins_at + duration
    parts: list[dict[str, NDArray[Any]]] = []
    faulted: set[str] = set()
    while at < until:
        end = min(at + _CHUNK, until)
        arrays = simulation.advance(end).arrays
        stopped = arrays["event_type"] == "stopped"
        parts.append({name: arrays[name][stopped] for name in _COLUMNS})
        faulted |= set(arrays["session_id"][arrays["event_type"] == "faulted"].tolist())
        if on_progress:
            on_progress(end - at)
        at = end
    columns = {name: np.concatenate([part[name] for part in parts]) for name in _COLUMNS}
    number = {station.station_id: place for place, station in enumerate(scenario.network.stations)}
    evses = {evse: place for place, evse in enumerate(sorted(set(columns["evse_id"].tolist())))}
    return Sessions(
        _sites(scenario.network),
        np.array([number[station] for station in columns["station_id"].tolist()], dtype=np.int64),
        np.array([evses[evse] for evse in columns["evse_id"].tolist()], dtype=np.int64),
        columns["started_at"].astype(np.int64) / 1000,
        columns["occurred_at"].astype(np.int64) / 1000,
        np.nan_to_num(columns["idle_s"].astype(np.float64)),
        np.nan_to_num(columns["queue_wait_s"].astype(np.float64)),
        columns["state_of_charge_start"].astype(np.float64),
        columns["state_of_charge"].astype(np.float64),
        np.array([session in faulted for session in columns["session_id"].tolist()], dtype=bool),
    )


def _sites(network: Network) -> Sites:
    return Sites(
        tuple(station.station_id for station in network.stations),
        tuple(station.time_zone for station in network.stations),
        np.array([len(station.evses) for station in network.stations], dtype=np.int64),
        np.array([max(evse.power_kw for evse in station.evses) for station in network.stations]),
    )

"""Comparison with queueing theory: a site with Poisson arrivals and exponential stays is an M/M/c queue (Erlang 1917)."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pytest
from small_sites import MONDAY, PLAIN, guests, patient, site

from simulation import Network, Simulation
from simulation.network import J1772
from simulation.profile import Visits

pytestmark = pytest.mark.slow

EVSES, LOAD, STAY_H = 3, 2.1, 0.5
DAYS, WARM_UP_DAYS, BATCH_DAYS = 2_800, 10, 5
#: Student's t, 99 % two-sided; near the normal quantile, since there are many batches.
_T_99 = 2.60


def erlang_c(servers: int, load: float) -> float:
    """The share that waits: Erlang B by its recursion, then C (Cooper, Introduction to Queueing Theory, 1981, 3.5)."""
    blocked = 1.0
    for server in range(1, servers + 1):
        blocked = load * blocked / (server + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


@dataclass(frozen=True)
class Memoryless:
    """Arrivals at `per_day`, exponential stays of mean `stay_h`, hardly any energy."""

    per_day: float
    stay_h: float

    def visits_on(self, weekday: int, random: np.random.Generator) -> Visits:
        count = random.poisson(self.per_day)
        start = np.sort(random.uniform(0, 24, count))
        stay = random.exponential(self.stay_h, count)
        return Visits(np.zeros(count, dtype=np.int64), start, stay, np.full(count, 1e-6), np.full(count, np.nan))


@pytest.fixture(scope="module")
def batches() -> np.ndarray:
    """A row per batch of days: visits, mean stay (h), share that waited, mean wait (h)."""
    station = site(*[(J1772, 7.2)] * EVSES)
    simulation = Simulation(
        Network((station,)),
        guests(*["chevrolet-bolt"] * 300),
        seed=1,
        start_at=MONDAY,
        demand=patient(),
        behaviour=PLAIN,
        sites={station.station_id: Memoryless(24 * LOAD / STAY_H, STAY_H)},
        connected=False,
    )
    columns = []
    for day in range(20, DAYS + 20, 20):
        arrays = simulation.advance(MONDAY + timedelta(days=day)).arrays
        stopped = arrays["event_type"] == "stopped"
        started, ended = (arrays[name][stopped].astype(np.int64) / 3_600_000 for name in ("started_at", "occurred_at"))
        columns.append(
            (started - arrays["queue_wait_s"][stopped] / 3600, ended - started, arrays["queue_wait_s"][stopped])
        )
    totals = simulation.totals
    assert totals.without_car == 0
    assert totals.sessions > 0.999 * totals.visits
    came, stay_h, wait_s = (np.concatenate(column) for column in zip(*columns, strict=True))
    batch = ((came - MONDAY.timestamp() / 3600) / 24 - WARM_UP_DAYS) // BATCH_DAYS
    # Cars of the last batch may still be there.
    chosen = (batch >= 0) & (batch < (DAYS - WARM_UP_DAYS) // BATCH_DAYS - 1)
    batch = batch[chosen].astype(int)
    visits = np.bincount(batch)
    sums = (np.bincount(batch, values[chosen]) for values in (stay_h, wait_s > 0, wait_s / 3600))
    return np.column_stack([visits, *(of / visits for of in sums)])


def interval(values: np.ndarray, visits: np.ndarray) -> tuple[float, float]:
    """Mean and half of its 99 % interval, by batch means (Law, Simulation Modeling and Analysis, 9.5.3), per visit."""
    mean = values @ visits / visits.sum()
    spread = np.std((values - mean) * visits / visits.mean(), ddof=1) / np.sqrt(len(values))
    return float(mean), float(_T_99 * spread)


def test_as_many_wait_as_erlang_c_says(batches: np.ndarray) -> None:
    share, half = interval(batches[:, 2], batches[:, 0])
    expected = erlang_c(EVSES, LOAD)
    assert half <= 0.02 * expected
    assert abs(share - expected) <= half


def test_cars_wait_as_long_as_theory_says(batches: np.ndarray) -> None:
    wait_h, half = interval(batches[:, 3], batches[:, 0])
    expected = erlang_c(EVSES, LOAD) * STAY_H / (EVSES - LOAD)
    assert half <= 0.08 * expected
    assert abs(wait_h - expected) <= half


def test_the_load_is_the_given_one(batches: np.ndarray) -> None:
    """The intervals assume this: arrivals are Poisson, and stays are exponential with the given mean."""
    visits = batches[:, 0]
    expected = BATCH_DAYS * 24 * LOAD / STAY_H
    assert abs(visits.mean() - expected) < 3.3 * np.sqrt(expected / len(visits))
    assert abs(batches[:, 1].mean() - STAY_H) < 3.3 * STAY_H / np.sqrt(visits.sum())
    assert 0.7 < visits.var() / expected < 1.4

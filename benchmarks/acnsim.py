"""ACN-Sim (acnportal) simulates charging sessions: reads them as JSON from the standard input, writes what it took.

Runs in an environment of its own, which `peers.acn_sim` makes: acnportal wants packages that the project lacks. So this
file imports nothing of the project.
"""

import json
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

# acnportal imports pkg_resources, which setuptools has announced to remove
warnings.filterwarnings("ignore", message="pkg_resources is deprecated")

from acnportal.acnsim import (  # noqa: E402
    EV,
    EVSE,
    ChargingNetwork,
    Current,
    EventQueue,
    Linear2StageBattery,
    PluginEvent,
    Simulator,
)
from acnportal.algorithms import BaseAlgorithm  # noqa: E402

#: Our fast chargers send meter values as often, and it is ACN-Sim's usual period.
PERIOD_MIN = 5
VOLTAGE = 240
#: A limit of the site that never binds: ACN-Sim needs at least one.
NO_LIMIT_A = 1e9


class FullPower(BaseAlgorithm):
    """Each car at its EVSE's full current.

    acnportal's own UncontrolledCharging asks for the whole network's description again for each car of each period: with
    thousands of EVSEs that would be all that is measured.
    """

    def __init__(self, rates: dict[str, list[float]]) -> None:
        super().__init__()
        self.max_recompute = 1
        self._rates = rates

    def schedule(self, active_sessions: list[Any]) -> dict[str, list[float]]:
        return {session.station_id: self._rates[session.station_id] for session in active_sessions}


def main() -> None:
    world = json.load(sys.stdin)
    rates = {evse_id: [power_kw * 1000 / VOLTAGE] for evse_id, power_kw in world["evses"]}
    network = ChargingNetwork()
    for evse_id, (rate,) in rates.items():
        network.register_evse(EVSE(evse_id, max_rate=rate), VOLTAGE, 0)
    network.add_constraint(Current(list(rates)), NO_LIMIT_A)
    arrivals = EventQueue([PluginEvent(ev.arrival, ev) for ev in cars(world["sessions"])])
    simulator = Simulator(
        network, FullPower(rates), arrivals, datetime(2026, 1, 1, tzinfo=UTC), PERIOD_MIN, verbose=False
    )
    began = time.perf_counter()
    simulator.run()
    seconds = time.perf_counter() - began
    json.dump({"seconds": seconds, "sessions": len(simulator.ev_history)}, sys.stdout)


def cars(sessions: list[tuple[str, float, float, float, float, float, float]]) -> Iterator[EV]:
    """A car for each session, in periods: what begins in the period in which the former one of the EVSE ends follows it."""
    free: dict[str, int] = {}
    for number, (evse_id, start_s, end_s, energy_kwh, usable_kwh, soc_start, power_kw) in enumerate(sessions):
        arrival = max(int(start_s / 60 / PERIOD_MIN), free.get(evse_id, 0))
        free[evse_id] = departure = max(arrival + 1, int(end_s / 60 / PERIOD_MIN))
        battery = Linear2StageBattery(usable_kwh, usable_kwh * soc_start, power_kw)
        yield EV(arrival, departure, energy_kwh, evse_id, f"session-{number}", battery)


if __name__ == "__main__":
    main()

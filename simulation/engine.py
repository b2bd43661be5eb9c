"""The simulation: SimPy calls for the steps, and everything between two steps is closed form.

Cars come by their own calendars (`trips`). At sites whose profiles are given, the visits of the site come instead, and a
guest makes each of them (`site_visits`).

The network starts empty: cars are on the road at `start_at`, so the first hours have fewer sessions than the same hours of
later days.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import chain
from typing import Any

from simpy.events import Event

from simulation import queueing, saved_state, sessions, site_visits, trips
from simulation.behaviour import Behaviour
from simulation.cars import Car
from simulation.clock import to_datetime, to_ms
from simulation.demand import Demand
from simulation.events import EventBatch
from simulation.fleet import Fleet
from simulation.guests import SiteDemand
from simulation.network import Network
from simulation.reporting import read_meter, spell
from simulation.setting import Setting
from simulation.telemetry import Telematics, TelemetryBatch
from simulation.world import World

#: What each step of a car does. Their names are part of a saved state.
_STEPS: dict[str, Callable[[World, int, int], None]] = {
    "arrive": sessions.arrive,
    "give_up": queueing.give_up,
    "plug_in": sessions.plug_in,
    "try_again": sessions.try_again,
    "pause": sessions.pause,
    "resume": sessions.resume,
    "full": sessions.full,
    "fault": sessions.fault,
    "leave": sessions.leave,
}


class Simulation:
    """A network and a fleet, simulated from `start_at` on.

    Equal arguments give equal events and telemetry, whatever the chunks in which `advance` is called.
    """

    def __init__(
        self,
        network: Network,
        fleet: Fleet,
        *,
        seed: int,
        start_at: datetime,
        demand: Demand | None = None,
        behaviour: Behaviour | None = None,
        sites: Mapping[str, SiteDemand] | None = None,
        connected: bool = True,
    ) -> None:
        """`sites` are the demands of stations by their ids. Every vehicle is then a guest of the station that is its home.

        Guests of sites send no telemetry. Other cars send it if they are `connected`; without it, events come quicker.

        ValueError if `start_at` has no time zone, a vehicle's model is not in the fleet's table, a site is not in the
        network or a vehicle's home is none of the sites.
        """
        start_ms = to_ms(start_at)
        setting = Setting(
            network,
            fleet,
            seed=seed,
            start_ms=start_ms,
            demand=demand,
            behaviour=behaviour,
            sites=sites,
            connected=connected,
        )
        cars = [Car(vehicle.first_soc, vehicle.home, since_at=start_ms) for vehicle in fleet.vehicles]
        world = World(setting, cars, self._take_step, now=start_ms)
        self._set_up(world)
        for station in world.sites:
            site_visits.open_day(world, station)
            site_visits.plan_next(world, station, start_ms)
        if not world.sites:
            for index in range(len(cars)):
                trips.plan_visit(world, index, start_ms)

    def _set_up(self, world: World) -> None:
        setting = world.setting
        self._world = world
        self.totals = world.totals
        self._telematics = Telematics(setting.stations, setting.vehicles, setting.models, setting.draws)
        #: Where the last `advance` began (ms).
        self._advanced_from: int | None = None

    @classmethod
    def load(
        cls,
        network: Network,
        fleet: Fleet,
        state: dict[str, Any],
        *,
        demand: Demand | None = None,
        behaviour: Behaviour | None = None,
        sites: Mapping[str, SiteDemand] | None = None,
        connected: bool = True,
    ) -> Simulation:
        """Resume from a `state` that `save` gave. ValueError if another version saved it, or with other arguments."""
        saved_state.check_version(state)
        setting = Setting(
            network,
            fleet,
            seed=state["seed"],
            start_ms=state["start_ms"],
            demand=demand,
            behaviour=behaviour,
            sites=sites,
            connected=connected,
        )
        simulation = cls.__new__(cls)
        simulation._set_up(saved_state.load(setting, state, simulation._take_step))
        return simulation

    def save(self) -> dict[str, Any]:
        """Everything that `load` needs to resume, as plain JSON values."""
        return saved_state.save(self._world)

    def advance(self, until: datetime) -> EventBatch:
        """Simulate up to `until` (inclusive, to the millisecond). Returns the events since the last call.

        ValueError if `until` has no time zone or lies before the time already reached.
        """
        world = self._world
        until_ms = to_ms(until)
        if until_ms < world.now:
            raise ValueError(f"{until.isoformat()} is before {to_datetime(world.now).isoformat()}, already simulated")
        world.spells.clear()
        self._advanced_from = world.now
        environment = world.environment
        while environment.peek() <= until_ms:
            environment.step()
        for index in world.plugs.occupant:
            if index >= 0:
                read_meter(world, index, until_ms + 1)
        world.now = until_ms
        return world.recorder.batch(world.totals)

    def telemetry(self, since: datetime | None = None) -> TelemetryBatch:
        """What the cars sent in the last `advance`, or in the part of it after `since` (exclusive).

        A call changes nothing, and telemetry costs nothing where it is not called for. ValueError if `advance` was not
        called since the start or since `load`, if `since` has no time zone, or if the cars send no telemetry.
        """
        world = self._world
        if not world.setting.sends_telemetry:
            raise ValueError("the cars send no telemetry: they are not connected, or they are guests of sites")
        if self._advanced_from is None:
            raise ValueError("telemetry is of the time that was simulated last: call `advance` first")
        after = self._advanced_from if since is None else max(to_ms(since), self._advanced_from)
        running = (spell(world, index, world.now + 1) for index in range(len(world.cars)))
        return self._telematics.batch(chain(world.spells, running), after, world.now)

    def _take_step(self, index: int, order: int, _: Event) -> None:
        """Take a car's step, unless another one was planned since."""
        world = self._world
        car = world.cars[index]
        if car.order == order:
            now = car.due_at
            if world.setting.sends_telemetry:
                world.spells.append(spell(world, index, now))
            # The drive that ends with an arrival reports it, so the car's next spell begins after it.
            since = now + 1 if car.step == "arrive" else now
            _STEPS[car.step](world, index, now)
            car.since_at = since

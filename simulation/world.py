"""What the parts of the engine share: the setting, what changes in it, and what comes next.

Every car has exactly one next step, kept as plain data beside SimPy's queue. A saved state is that data: `saved_state` asks
SimPy for the same steps in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from simpy import Environment
from simpy.events import Event, Timeout

from simulation.cars import Car, Session
from simulation.charging import ChargeCurve, charge_curve
from simulation.clock import DAY_MS, to_local_ms
from simulation.draws import Purpose, Uniforms
from simulation.event_log import Recorder
from simulation.events import Totals
from simulation.guests import Site
from simulation.plugs import Plugs
from simulation.power_sharing import SitePower
from simulation.setting import Setting
from simulation.telemetry import Spell


class World:
    """The state of a simulation. Cars, stations and EVSEs are known by their numbers; times are in ms."""

    def __init__(
        self,
        setting: Setting,
        cars: list[Car],
        take_step: Callable[[int, int, Event], None],
        *,
        now: int,
        order: int = 0,
        totals: Totals | None = None,
    ) -> None:
        """`take_step` takes a car's step: it gets the car, the step's order and SimPy's event."""
        self.setting = setting
        self.cars = cars
        #: The time that `advance` has reached.
        self.now = now
        self.totals = totals or Totals()
        self.plugs = Plugs(setting.stations)
        self.power = SitePower(setting.stations)
        #: The stations that have a demand of their own.
        self.sites: dict[int, Site] = {}
        for station, (demand, guests) in setting.guests.items():
            local_day = to_local_ms(setting.stations[station].time_zone, setting.start_ms) // DAY_MS
            self.sites[station] = Site(demand, guests, local_day)
        vehicles = [(vehicle.ev_id, vehicle.ev_model_id) for vehicle in setting.vehicles]
        self.recorder = Recorder(setting.stations, vehicles, setting.session_prefix)
        #: The spells that ended since `advance` began.
        self.spells: list[Spell] = []
        self.environment = Environment(initial_time=now)
        #: The number of the step that was planned last. Numbers rise, and keep the order of steps that are due together.
        self.order = order
        self.curves: dict[tuple[str, float, bool], tuple[ChargeCurve, int]] = {}
        self._take_step = take_step

    # --- what comes next ---

    def schedule(self, index: int, at_ms: int, step: str) -> None:
        """Make `step` the one next step of a car; a step that was planned before is void."""
        self.order = order = self.order + 1
        car = self.cars[index]
        car.due_at, car.order, car.step = at_ms, order, step
        self.call_at(at_ms, partial(self._take_step, index, order))

    def ask_for_step(self, index: int) -> None:
        """Let SimPy call for the next step that a car has."""
        car = self.cars[index]
        self.call_at(car.due_at, partial(self._take_step, index, car.order))

    def call_at(self, at_ms: int, call: Callable[[Event], None]) -> None:
        """Let SimPy call `call`. Calls of one instant come in the order in which they were asked for."""
        environment = self.environment
        Timeout(environment, at_ms - environment.now).callbacks.append(call)

    # --- what parts look up ---

    def session(self, index: int) -> Session:
        """The session of a car. RuntimeError if it has none."""
        session = self.cars[index].session
        if session is None:
            raise RuntimeError(f"{self.setting.vehicles[index].ev_id} is not at a station")
        return session

    def fits(self, index: int, station: int) -> tuple[int, ...]:
        """The EVSEs of a station that fit a car."""
        return self.plugs.fits(station, self.setting.models[index].connector_types)

    def stay_draws(self, index: int, session: Session) -> Uniforms:
        """The draws for a car's stay; the same for all tries of one visit."""
        if session.draws is None:
            session.draws = self.setting.draws.block(Purpose.STAY, index, self.cars[index].visit)
        return session.draws

    def curve(self, index: int, evse: int, limit_kw: float) -> tuple[ChargeCurve, int]:
        """How a car charges at an EVSE that gives `limit_kw`, and the number by which the recorder knows that curve."""
        model, is_dc = self.setting.models[index], self.plugs.is_dc[evse]
        key = (model.ev_model_id, limit_kw, is_dc)
        known = self.curves.get(key)
        if known is None:
            curve = charge_curve(model, limit_kw, is_dc)
            known = self.curves[key] = curve, self.recorder.curve(curve)
        return known

    def set_curve(self, index: int) -> None:
        """Let a car charge along the curve of its session's limit."""
        session = self.session(index)
        session.curve, session.curve_number = self.curve(index, session.evse, session.limit_kw)

"""What the engine knows of each car and of its session: plain data, which can be saved."""

from __future__ import annotations

from dataclasses import dataclass, fields

from simulation.charging import ChargeCurve
from simulation.draws import Uniforms
from simulation.telemetry import NO_STATION

#: No car at an EVSE, and no EVSE of a session.
FREE = -1


@dataclass(slots=True)
class Session:
    """One try to charge, from the queue to the unplugged cable. Times are in ms; 0 means not planned, or not yet.

    `wanted_ms` and `wanted_kwh` are what a site's visit asks for (-1: the driver decides). `limit_kw` is what the site gives.
    """

    station: int
    attempt: int = 0
    sequence: int = 0
    evse: int = FREE
    wanted_ms: int = -1
    wanted_kwh: float = -1.0
    queued_at: int = 0
    started_at: int = 0
    leave_at: int = 0
    pause_at: int = 0
    resume_at: int = 0
    fault_at: int = 0
    full_at: int = 0
    charging: bool = False
    target_soc: float = 0.0
    soc_start: float = 0.0
    limit_kw: float = 0.0
    # The running stretch of charging: since when, at which level.
    stretch_at: int = 0
    stretch_soc: float = 0.0
    next_meter_at: int = 0
    # What follows from the fields above is never saved: the curve, its number, seconds from empty at the stretch's begin, and
    # the draws for the stay.
    curve: ChargeCurve | None = None
    curve_number: int = -1
    stretch_s: float = 0.0
    draws: Uniforms | None = None

    @property
    def known_curve(self) -> ChargeCurve:
        """The curve along which the car charges. RuntimeError before it is plugged in."""
        if self.curve is None:
            raise RuntimeError("a session has a curve once it is plugged in")
        return self.curve

    def soc_at(self, at_ms: int) -> float:
        """State of charge at `at_ms`, which is in the running stretch; computed from the stretch's begin in one step."""
        soc = self.known_curve.soc_at(self.stretch_s + (at_ms - self.stretch_at) / 1000)
        return min(max(soc, self.stretch_soc), self.target_soc)


@dataclass(slots=True)
class Car:
    """A car between and during visits.

    Its next `step` has the number `order` and comes at `due_at` (ms); "" is no step. The car's last step was at `since_at`
    (ms). Between visits the car comes from station `origin`, which it left with `soc_left`, and drives `driven_km`; `soc` and
    `station` are then those of its arrival. `reroutes` counts how often it drove on to another station on this errand.
    """

    soc: float
    station: int
    visit: int = 0
    due_at: int = 0
    order: int = 0
    step: str = ""
    since_at: int = 0
    origin: int = NO_STATION
    soc_left: float = 0.0
    driven_km: float = 0.0
    reroutes: int = 0
    session: Session | None = None


#: The fields that are saved.
CAR_FIELDS = tuple(f.name for f in fields(Car) if f.name != "session")
_DERIVED = ("curve", "curve_number", "stretch_s", "draws")
SESSION_FIELDS = tuple(f.name for f in fields(Session) if f.name not in _DERIVED)

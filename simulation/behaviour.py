"""How drivers and hardware behave, whatever the site: assumptions where no source is named."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf

# The number of a session has one digit for its try, and each try has draws of its own.
_MOST_TRIES = 4


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Shares are of visits (0 to 1), times in s, distances in km. ValueError names a value that is impossible.

    A start fails with `failed_start_share`. The driver notices after `failed_start_s` (least, most) and tries again, on
    another EVSE if one is free. A further try fails with `failed_retry_share`. After `most_tries` the driver leaves.

    A driver who finds all plugs taken leaves at once with `balk_share`. For each car that already waits per plug, the same
    share of those who would have stayed leaves too. Of the drivers who leave, at once or after they waited, `reroute_share`
    looks for a free plug at a station within `reroute_km`, at most `most_reroutes` times on one errand. When a plug becomes
    free, the next car needs `move_up_s` (least, most) to move up. With `makes_room` the driver who would leave next leaves at
    once when a car finds all plugs taken, if little of the stay is left.

    Chargers send meter values every `ac_meter_s` and `dc_meter_s`. A `fault_share` of the sessions meets a fault of its
    EVSE, which is then out of order for a log-normal time.
    """

    # 14 % of visits end without a charge or only after trouble: J.D. Power, U.S. EV Experience Public Charging Study 2025.
    failed_start_share: float = 0.14
    failed_retry_share: float = 0.25
    failed_start_s: tuple[float, float] = (20.0, 90.0)
    most_tries: int = 3
    balk_share: float = 0.30
    reroute_share: float = 0.6
    reroute_km: float = 8.0
    most_reroutes: int = 2
    move_up_s: tuple[float, float] = (30.0, 150.0)
    makes_room: bool = field(default=False, repr=False)
    # Usual settings of OCPP's MeterValueSampleInterval in the field (assumption).
    ac_meter_s: float = 300.0
    dc_meter_s: float = 60.0
    fault_share: float = 0.012
    repair_median_s: float = 8 * 3600.0
    repair_sigma: float = 1.0

    def __post_init__(self) -> None:
        for name in ("failed_start_share", "failed_retry_share", "balk_share", "reroute_share", "fault_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, not {getattr(self, name)}")
        for name in ("ac_meter_s", "dc_meter_s"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} must be at least 1 s, not {getattr(self, name)}")
        for name in ("failed_start_s", "move_up_s"):
            least, most = getattr(self, name)
            if not 0 <= least <= most < inf:
                raise ValueError(f"{name} must be least and most, 0 s or more, not {least} and {most}")
        for name in ("reroute_km", "most_reroutes", "repair_median_s", "repair_sigma"):
            if not 0 <= getattr(self, name) < inf:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not 1 <= self.most_tries <= _MOST_TRIES:
            raise ValueError(f"most_tries must be from 1 to {_MOST_TRIES}, not {self.most_tries}")


#: For visits drawn from recorded sessions: the record already contains what faults, failed starts and full sites did.
AS_RECORDED = Behaviour(failed_start_share=0.0, fault_share=0.0, balk_share=0.0, reroute_share=0.0)
#: The same at a site with as many plugs as the recorded one: each of the recorded visits found a plug. A full site refuses the
#: late ones of each peak (where 20 plugs fill up every morning: 2 in 100, and starts are 0.7 minutes early).
ALL_SERVED = replace(AS_RECORDED, move_up_s=(0.0, 0.0), makes_room=True)

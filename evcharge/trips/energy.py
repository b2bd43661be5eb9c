"""What a car uses on the way, by its speed and the temperature outside.

One figure tunes it, the reference consumption: kWh per 100 km at a steady 110 km/h (68 mph) on a flat road at 20 degrees. This
is how A Better Route Planner defines it (forum.abetterrouteplanner.com/topic/3755), so drivers who know theirs can give it.
The models' own consumption (Open EV Data, after ev-database.org) is close to ev-database.org's figure for 110 km/h in mild
weather, and stands in for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evcharge.errors import UserError

Floats = NDArray[np.float64]

REFERENCE_KMH = 110.0
#: Drag's share of the consumption at the reference speed; it grows with the square of the speed. A car of 1,900 kg with a
#: drag area of 0.6 m2 and a rolling coefficient of 0.009 uses 9.3 kWh per 100 km against the air and 4.7 against the road.
DRAG_SHARE = 0.6
#: The temperature (°C) at which nothing is heated or cooled.
MILD_C = 20.0
# AAA (2019, "Electric vehicle range testing", five cars on a mixed cycle of some 48 km/h): at -6.7 °C the range falls by 12 %
# without and by 41 % with heating, at 35 °C by 4 % and 17 %, both against 24 °C. At 15 kWh per 100 km, heating is then
# 4 kW at -6.7 °C, and cooling 1.2 kW at 35 °C.
COLD_SHARE_PER_K = 0.14 / 26.7
HOT_SHARE_PER_K = 0.04 / 15
HEATING_KW_PER_K = 4.0 / 26.7
COOLING_KW_PER_K = 1.2 / 15
#: Cabin heaters end here (assumption: the usual resistance heater has 5 to 7 kW).
MOST_HEATING_KW = 6.0

#: What may be asked. Vermont's record is -46 °C, Death Valley's 57 °C.
TEMPERATURES_C = (-50.0, 60.0)
#: From below the least car of ev-database.org to an electric truck with a trailer.
CONSUMPTIONS = (5.0, 100.0)


@dataclass(frozen=True, slots=True)
class Consumption:
    """A car's consumption. Raises UserError if a value is out of range.

    `reference_kwh_per_100km` is at REFERENCE_KMH and MILD_C; `temperature_c` is outside the car.
    """

    reference_kwh_per_100km: float
    temperature_c: float = MILD_C

    def __post_init__(self) -> None:
        least, most = CONSUMPTIONS
        if not least <= self.reference_kwh_per_100km <= most:
            raise UserError(
                f"reference consumption {self.reference_kwh_per_100km:g} kWh per 100 km: "
                f"it must be between {least:g} and {most:g}"
            )
        least, most = TEMPERATURES_C
        if not least <= self.temperature_c <= most:
            raise UserError(f"temperature {self.temperature_c:g} °C: it must be between {least:g} and {most:g}")

    @property
    def climate_kw(self) -> float:
        """Power for heating or cooling the cabin."""
        apart = self.temperature_c - MILD_C
        return min(-apart * HEATING_KW_PER_K, MOST_HEATING_KW) if apart < 0 else apart * COOLING_KW_PER_K

    def kwh(self, distance_km: Any, drive_s: Any) -> Floats:
        """Energy from the battery (kWh) for distances (km) that take so long (s) at a steady speed; arrays broadcast."""
        km, hours = np.asarray(distance_km, dtype=float), np.asarray(drive_s, dtype=float) / 3600
        speed_kmh = np.divide(km, hours, out=np.zeros_like(km + hours), where=hours > 0)
        apart = self.temperature_c - MILD_C
        weather = 1 + (-apart * COLD_SHARE_PER_K if apart < 0 else apart * HOT_SHARE_PER_K)
        drag = 1 - DRAG_SHARE + DRAG_SHARE * (speed_kmh / REFERENCE_KMH) ** 2
        used: Floats = self.reference_kwh_per_100km / 100 * km * drag * weather + self.climate_kw * hours
        return used

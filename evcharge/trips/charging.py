"""Which plug a car takes, and how long it charges there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evcharge.contracts.connector_types import answers_to

if TYPE_CHECKING:
    from simulation.charging import ChargeCurve

Floats = NDArray[np.float64]

#: Power by state of charge, as shares of the peak, where a model's own curve is not known: TomTom's default charging curve.
DEFAULT_CURVE = (
    *((0.0, 0.5), (0.1, 0.5), (0.101, 1.0), (0.5, 1.0), (0.501, 0.75)),
    *((0.8, 0.75), (0.801, 0.35), (0.9, 0.35), (0.901, 0.2), (1.0, 0.2)),
)
#: The mean power from 10 to 80 % on this curve, as a share of its peak.
_DEFAULT_MEAN = 0.7 / (0.4 / 1.0 + 0.3 / 0.75)
#: Connectors that only give alternating current. TESLA gives both: above 19.2 kW (80 A x 240 V) it is a Supercharger.
AC_CONNECTORS = frozenset({"J1772", "IEC_62196_T2", "IEC_62196_T3A", "IEC_62196_T3C", "GBT_AC", "TESLA_R"})
MAX_AC_KW = 19.2
#: Where the registry has no power. Level 2 is mostly 30 A x 240 V; AFDC's DC fast chargers begin at 50 kW.
UNKNOWN_AC_KW, UNKNOWN_DC_KW = 7.2, 50.0


@dataclass(frozen=True, slots=True)
class Car:
    """An EV model as trips need it. `dc_kw` is null for a car that cannot fast charge; `dc_curve` where it is not known."""

    ev_model_id: str
    make: str
    model: str
    usable_kwh: float
    ac_kw: float
    dc_kw: float | None
    consumption_kwh_per_100km: float
    connector_types: tuple[str, ...]
    dc_curve: tuple[tuple[float, float], ...] | None = None
    source: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Car:
        """The car of a row of reference data (`evcharge.reference.mongodb.MODEL_FIELDS`)."""
        curve = row.get("dc_curve")
        return cls(
            row["ev_model_id"],
            row["make"],
            row["model"],
            row["usable_kwh"],
            row["ac_kw"],
            row.get("dc_kw"),
            row["consumption_kwh_per_100km"],
            tuple(row["connector_types"]),
            tuple((soc, power_kw) for soc, power_kw in curve) if curve else None,
            row.get("source") or "",
        )

    @property
    def name(self) -> str:
        return f"{self.make} {self.model}"

    def to_json(self) -> dict[str, Any]:
        return {
            "ev_model_id": self.ev_model_id,
            "make": self.make,
            "model": self.model,
            "usable_kwh": self.usable_kwh,
            "dc_kw": self.dc_kw,
            "ac_kw": self.ac_kw,
            "consumption_kwh_per_100km": self.consumption_kwh_per_100km,
            "connector_types": list(self.connector_types),
        }


@dataclass(frozen=True, slots=True)
class Plug:
    """A kind of outlet at a station that a car takes. `power_kw` is the outlet's; `car_kw` is the most that the car draws."""

    connector_type: str
    power_kw: float
    is_dc: bool
    car_kw: float


def best_plug(car: Car, outlets: Iterable[tuple[str | None, float | None]]) -> Plug | None:
    """The outlet, of (connector type, kW) pairs, at which the car charges fastest; None if it takes none of them."""
    plugs = (_plug(car, kind, power_kw) for kind, power_kw in outlets if kind is not None)
    return max((plug for plug in plugs if plug), key=lambda plug: (plug.car_kw, plug.power_kw), default=None)


def _plug(car: Car, connector_type: str, power_kw: float | None) -> Plug | None:
    if not set(answers_to(connector_type)) & set(car.connector_types):
        return None
    if connector_type in AC_CONNECTORS or (connector_type == "TESLA" and (power_kw or 0.0) <= MAX_AC_KW):
        power_kw = power_kw or UNKNOWN_AC_KW
        return Plug(connector_type, power_kw, False, min(power_kw, car.ac_kw))
    if car.dc_kw is None:
        return None
    power_kw = power_kw or UNKNOWN_DC_KW
    return Plug(connector_type, power_kw, True, min(power_kw, car.dc_kw))


@lru_cache(maxsize=1_000)
def curve(car: Car, power_kw: float, is_dc: bool) -> ChargeCurve:
    """How the car charges at an outlet: the lower of its taper curve and the outlet's power; on AC, of its onboard charger."""
    # imported here: nearby needs no simulation
    from simulation.charging import EvModel, charge_curve

    peak_kw = car.dc_kw or 0.0
    points = car.dc_curve
    if points is None:
        # Kaggle's figure is the mean of a fast charge, not its peak.
        peak_kw = peak_kw / _DEFAULT_MEAN if car.source == "kaggle" else peak_kw
        points = tuple((soc, share * peak_kw) for soc, share in DEFAULT_CURVE)
    model = EvModel(
        *(car.ev_model_id, car.make, car.model, car.usable_kwh, car.ac_kw, peak_kw),
        *(car.consumption_kwh_per_100km, car.connector_types, points),
    )
    return charge_curve(model, power_kw, is_dc)


def charge_s(car: Car, plug: Plug, from_soc: float, to_soc: float) -> float:
    """Seconds to charge from one state of charge to another (0 to 1)."""
    found = curve(car, plug.power_kw, plug.is_dc)
    return max(found.seconds_at(to_soc) - found.seconds_at(from_soc), 0.0)


@lru_cache(maxsize=1_000)
def seconds_by_bucket(car: Car, power_kw: float, is_dc: bool, buckets: int) -> Floats:
    """Seconds to charge from empty to each of `buckets` + 1 equally distant states of charge from 0 to 1."""
    found = curve(car, power_kw, is_dc)
    return np.array([found.seconds_at(bucket / buckets) for bucket in range(buckets + 1)])

"""Power classes of charging sites: what a registry tells of their kind."""

from __future__ import annotations

from collections.abc import Iterable

#: A connector with more power than this gives direct current: J1772 ends at 80 A x 240 V (kW).
MAX_AC_KW = 19.2
#: Up to here a car charges for an hour, above it for as long as the car allows: 50 to 62.5 kW are the older fast chargers.
MAX_DC_KW = 100.0
#: What an outlet gives at least by its connector, where the registry has no power (kW): the first fast chargers had 50 kW.
_DC_CONNECTORS = {"J1772COMBO", "CHADEMO", "CCS", "IEC_62196_T2_COMBO", "GBT_DC", "CHAOJI", "J3271"}
_LEAST_DC_KW = 50.0
POWER_CLASSES = ("AC", "DC", "fast DC")


def power_class(power_kw: float | None) -> str:
    """The class of a site by its strongest fitting outlet (kW); unknown power is AC, as most outlets are."""
    if (power_kw or 0.0) <= MAX_AC_KW:
        return "AC"
    return "DC" if (power_kw or 0.0) <= MAX_DC_KW else "fast DC"


def usual_power_kw(connector_types: Iterable[str | None]) -> float:
    """The power (kW) to expect of outlets of which only the connectors are known; 0 where they say nothing."""
    return _LEAST_DC_KW if _DC_CONNECTORS & set(connector_types) else 0.0

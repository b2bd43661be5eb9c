"""How a site shares its grid connection among the cars that charge."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

# Limits are whole quarters of a kW (rounded down): so there are few different charging curves, and the sum never exceeds
# the site's power.
_STEPS_PER_KW = 4


def share_power(site_power_kw: float, wanted_kw: Sequence[float], evse_kw: Sequence[float]) -> list[float]:
    """The limit (kW) of each charging car at a site.

    `wanted_kw` is the most that each can take from now on, `evse_kw` what its EVSE gives. Who wants less than an equal share
    leaves the rest to the others (max-min fairness, Bertsekas and Gallager, Data Networks, 6.5.2); it is not limited, since
    it never takes more than it wants now. Two equal cars halve the site's power.
    """
    limits = list(evse_kw)
    left, open_ = site_power_kw, sorted(range(len(wanted_kw)), key=lambda i: (wanted_kw[i], i))
    while open_:
        level = left / len(open_)
        if wanted_kw[open_[0]] > level:
            limit = max(floor(level * _STEPS_PER_KW) / _STEPS_PER_KW, 1 / _STEPS_PER_KW)
            for i in open_:
                limits[i] = min(limit, evse_kw[i])
            break
        left -= wanted_kw[open_.pop(0)]
    return limits

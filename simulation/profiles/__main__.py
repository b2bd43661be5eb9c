"""Makes the shipped profiles that have no recorded sessions: `python -m simulation.profiles`.

Visits are drawn from the figures below and described as a fit describes recorded visits. The same numpy makes the same
files. `campus` and `dc_fast` come from `evcharge fit` on all days of ACN-Data Caltech, May to August 2019, and of the EPFL
fast chargers, 2022.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simulation.estimation import day_kind
from simulation.profile import WEEKDAYS, WEEKEND, DayKind, Floats, SiteProfile, Visits

_DRAWN = 40_000
_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Peak:
    """A share of the starts, normally distributed around a local hour."""

    share: float
    hour: float
    sigma_h: float


# EVnetNL, Netherlands, public, 2015 (Joint Research Centre): 8.4 kWh a session, weekday starts peak at 08:51, 61 % of the
# connected time is idle, 13.7 % of the time occupied. The rest is assumed: the lesser peaks, the spreads, and cars that take
# 4.4 kW on average. The visits then follow from the occupancy: 0.137 x 24 h / 4.9 h a visit for each EVSE.
_PUBLIC_SOURCE = (
    "made of published figures, no sessions: EVnetNL 2015 (8.4 kWh, weekday peak 08:51, 61 % idle, 13.7 % occupied)"
)
_PUBLIC_WEEKDAY = (Peak(0.36, 8.85, 1.3), Peak(0.34, 13.0, 2.4), Peak(0.30, 17.8, 2.2))
_PUBLIC_WEEKEND = (Peak(0.75, 12.5, 3.0), Peak(0.25, 18.0, 2.5))
_PUBLIC_KWH, _PUBLIC_IDLE, _PUBLIC_TAKEN_KW, _PUBLIC_EVSES, _PUBLIC_OCCUPIED = 8.4, 0.61, 4.4, 2, 0.137

# No usable figures of homes are published, so all is assumed. People come home in the evening. Three quarters of the cars
# stay until about half past seven, as at the residential sites of simulation.demand. 11 kWh are 55 km at 0.2 kWh/km. Ten cars
# come on three of five days each, so the counts of days are binomial.
_HOME_SOURCE = (
    "made of assumptions, no sessions: home in the evening, away at 07:30, 11 kWh, ten cars on three of five days"
)
_HOME_WEEKDAY = (Peak(0.72, 18.2, 1.9), Peak(0.18, 14.0, 3.0), Peak(0.10, 21.5, 1.5))
_HOME_WEEKEND = (Peak(0.60, 17.5, 3.0), Peak(0.40, 13.5, 3.0))
_HOME_UNTIL_SHARE, _HOME_UNTIL_H, _HOME_UNTIL_SIGMA_H, _HOME_SHORT_H = 0.75, 7.5, 1.2, 3.0
_HOME_KWH, _HOME_POWER_KW, _HOME_CARS, _HOME_COME = 11.0, 7.2, 10, 0.6


def public() -> SiteProfile:
    """Two level 2 EVSEs at a street."""
    stay_h = _PUBLIC_KWH / _PUBLIC_TAKEN_KW / (1 - _PUBLIC_IDLE)
    return SiteProfile(
        source=_PUBLIC_SOURCE,
        sessions=0,
        time_zone="Europe/Amsterdam",
        evses=_PUBLIC_EVSES,
        power_kw=11.0,
        connector_type="J1772",
        visits=(_PUBLIC_EVSES * _PUBLIC_OCCUPIED * 24 / stay_h,) * 7,
        day_variance=0.05,
        kinds={WEEKDAYS: _public(_PUBLIC_WEEKDAY, 1), WEEKEND: _public(_PUBLIC_WEEKEND, 2)},
    )


def residential() -> SiteProfile:
    """Ten EVSEs of a block of flats."""
    return SiteProfile(
        source=_HOME_SOURCE,
        sessions=0,
        time_zone="America/Los_Angeles",
        evses=_HOME_CARS,
        power_kw=_HOME_POWER_KW,
        connector_type="J1772",
        visits=(_HOME_CARS * _HOME_COME,) * 7,
        day_variance=-1 / _HOME_CARS,
        kinds={WEEKDAYS: _residential(_HOME_WEEKDAY, 3), WEEKEND: _residential(_HOME_WEEKEND, 4)},
    )


def _public(peaks: tuple[Peak, ...], seed: int) -> DayKind:
    random = np.random.default_rng(seed)
    energy = random.gamma(1.8, _PUBLIC_KWH / 1.8, _DRAWN)
    charging = energy / _PUBLIC_TAKEN_KW
    # A gamma distribution of shape 0.5: many leave soon after they are full, some stay overnight.
    idle = random.gamma(0.5, 2 * _PUBLIC_KWH / _PUBLIC_TAKEN_KW * _PUBLIC_IDLE / (1 - _PUBLIC_IDLE), _DRAWN)
    return _kind(_starts(peaks, random), charging + idle, energy)


def _residential(peaks: tuple[Peak, ...], seed: int) -> DayKind:
    random = np.random.default_rng(seed)
    start = _starts(peaks, random)
    overnight = (random.normal(_HOME_UNTIL_H, _HOME_UNTIL_SIGMA_H, _DRAWN) - start) % 24
    short = random.lognormal(np.log(_HOME_SHORT_H), 0.7, _DRAWN)
    stay = np.where(random.random(_DRAWN) < _HOME_UNTIL_SHARE, overnight, short)
    return _kind(start, stay, np.minimum(random.gamma(2.0, _HOME_KWH / 2.0, _DRAWN), _HOME_POWER_KW * stay))


def _starts(peaks: tuple[Peak, ...], random: np.random.Generator) -> Floats:
    peak = random.choice(len(peaks), _DRAWN, p=[each.share for each in peaks])
    hours = np.array([each.hour for each in peaks])[peak]
    starts: Floats = random.normal(hours, np.array([each.sigma_h for each in peaks])[peak]) % 24
    return starts


def _kind(start: Floats, stay: Floats, energy: Floats) -> DayKind:
    return day_kind(Visits(np.zeros(_DRAWN, dtype=np.int64), start, stay, energy, np.full(_DRAWN, np.nan)))


if __name__ == "__main__":
    for profile in (public, residential):
        (_FOLDER / f"{profile.__name__}.json").write_text(json.dumps(profile().to_json()) + "\n")

"""What the model on change events knows of a site at an instant: its flow of cars, its state, its recent past, its usual week.

Every value at an instant comes from changes at or before it. The usual week ends with the last local midnight, because a
platform learns once a day.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from evcharge.forecast.flow import SiteFlow
from evcharge.forecast.site_history import DAY_S, LONG_S, SLOT_S, Floats, Ints, SiteHistory

Matrix = NDArray[np.float32]

#: Probabilities nearer to 0 and 1 than this are not told apart.
LEAST = 1e-4
_COUNT_WINDOWS_S = {"1h": 3600, "4h": 4 * 3600, "1d": DAY_S, "7d": 7 * DAY_S}
_SHARE_WINDOWS_S = {"4h": 4 * 3600, "1d": DAY_S, "7d": 7 * DAY_S, "28d": 28 * DAY_S}
#: So many seconds of the site's own level are mixed into a half hour of the usual week.
_LEVEL_S = 3.0 * SLOT_S
_AROUND_S = 1_200
_BENDS = np.log1p(np.array([0, 10, 30, 60, 100, 150, 200, 225, 245, 270, 330, 480, 720, 1080, 2880.0]))
_HOUR_AND_A_HALF = 4.5  # log(1 + 89 minutes)
_AGES = ("newest", "oldest", "age")
_TIMES = (
    "newest_other",
    "oldest_other",
    "turned",
    "turned_before",
    "lasted1",
    "lasted2",
    "arrival2",
    "departure1",
    "departure2",
)
_AS_THEY_ARE = (
    "coming",
    "leaving",
    "usual",
    "days_before1",
    "days_before7",
    "usual_now",
    "leave_factor",
    "come_factor",
)
#: Hours of the day, and by how many waves.
_HOURS = {"hour_then": 4, "newest_from": 2, "oldest_other_from": 2}


def log_odds(chance: Floats) -> Floats:
    chance = np.clip(chance, LEAST, 1 - LEAST)
    return np.log(chance / (1 - chance))


def features(history: SiteHistory, flow: SiteFlow, at_s: Ints, ahead_min: Sequence[int]) -> dict[str, Floats]:
    """The features of forecasts made at instants, for so many minutes ahead (rising).

    Each is of the shape (instants, horizons), or (instants, 1) if the horizon does not matter.
    """
    found = {name: values[:, None] for name, values in _now(history, at_s).items()}
    chances = flow.chances(at_s, ahead_min)
    leave, come = flow.factors(at_s)
    found["leave_factor"], found["come_factor"] = np.log(leave)[:, None], np.log(come)[:, None]
    found["flow"] = log_odds(chances["free"])
    found["coming"] = np.log1p(chances["arrivals"])
    found["leaving"] = np.log1p(chances["departures"])
    ahead = [_ahead(history, at_s, minutes, found) for minutes in ahead_min]
    for name in ahead[0]:
        found[name] = np.stack([values[name] for values in ahead], axis=1)
    return found


def _now(history: SiteHistory, at_s: Ints) -> dict[str, Floats]:
    events = history.events
    place = history.place(at_s)
    available, total = events.available[place], events.total[place]
    found: dict[str, Floats] = {
        "free": np.minimum(available, 4).astype(float),
        "busy": np.minimum(total - available, 6).astype(float),
        "share": available / np.maximum(total, 1),
        "age": _log_min(at_s - events.at_s[place]),
    }
    for nth in (1, 2):
        found[f"arrival{nth}"] = _log_min(history.arrivals.since(at_s, nth))
        found[f"departure{nth}"] = _log_min(history.departures.since(at_s, nth))
    started = history.started_s[place]
    for column, name in enumerate(("newest", "oldest", "newest_other", "oldest_other")):
        runs = started[:, column] > 0
        found[name] = np.where(runs, _log_min(at_s - started[:, column]), -1.0)
        if column in (0, 3):
            local = history.local(started[:, column].astype(np.int64))
            found[f"{name}_from"] = np.where(runs, local % DAY_S / 3600, -1.0)
    for nth in (1, 2):
        earlier = np.clip(place - nth, 0, None)
        found[f"free_before{nth}"] = np.minimum(events.available[earlier], 4).astype(float)
        found[f"lasted{nth}"] = _log_min(events.at_s[np.clip(place - nth + 1, 0, None)] - events.at_s[earlier])
    turned, before = history.since_turn(at_s)
    found["turned"], found["turned_before"] = _log_min(turned), _log_min(before)
    points = np.maximum(total, 1)
    for name, steps in (("arrivals", history.arrivals), ("departures", history.departures)):
        for window, window_s in _COUNT_WINDOWS_S.items():
            found[f"{name}_{window}"] = (steps.until(at_s) - steps.until(at_s - window_s)) / points
    for window, window_s in _SHARE_WINDOWS_S.items():
        found[f"free_{window}"] = history.share(history.free_s, at_s, window_s, 0.85)
        found[f"share_{window}"] = history.share(history.share_s, at_s, window_s, 0.6)
    local = history.local(at_s)
    week = history.week.at(local, local)
    found["usual_now"] = (week["free"] + _LEVEL_S * found["free_28d"]) / (week["known"] + _LEVEL_S)
    found["hour"] = local % DAY_S / 3600
    found["weekday"] = ((local // DAY_S + 3) % 7).astype(float)
    return found


def _ahead(history: SiteHistory, at_s: Ints, minutes: int, now: dict[str, Floats]) -> dict[str, Floats]:
    local = history.local(at_s)
    then = local + minutes * 60
    week = history.week.at(local, then)
    usual = (week["free"] + _LEVEL_S * now["free_28d"][:, 0]) / (week["known"] + _LEVEL_S)
    share = (week["share"] + _LEVEL_S * now["share_28d"][:, 0]) / (week["known"] + _LEVEL_S)
    found = {"usual": log_odds(np.clip(usual, 0.01, 0.99)), "usual_share": share}
    for days in (1, 7):
        middle = at_s + minutes * 60 - days * DAY_S
        first, last = middle - _AROUND_S, np.minimum(middle + _AROUND_S, at_s)
        known = history.known_s(last) - history.known_s(first)
        was = history.free_s(last) - history.free_s(first)
        found[f"days_before{days}"] = np.where(known > 0, was / np.maximum(known, 1), usual)
    found["ahead"] = np.full(len(at_s), np.log(minutes + 5.0))
    found["hour_then"] = then % DAY_S / 3600
    return found


def columns(found: dict[str, Floats], horizon: int) -> Matrix:
    """The columns of the correction at one horizon, of the shape (instants, columns).

    Ages bend more often around the fourth hour, in which sessions at public AC sites are most likely to end.
    """
    one = {name: values[:, min(horizon, values.shape[1] - 1)] for name, values in found.items()}
    flow = one["flow"]
    is_one = (one["free"] == 1).astype(float)
    parts = [flow, flow * flow / 10, np.sign(flow) * np.abs(flow) ** 1.5 / 5, is_one, is_one * flow]
    for name in _AGES:
        parts += [np.clip(one[name] - low, 0, high - low) for low, high in pairwise(_BENDS)]
    parts.append(one["newest"] < 0)
    for name in _TIMES:
        parts += [one[name], np.clip(one[name] - _HOUR_AND_A_HALF, 0, None)]
    parts += [one[name] for name in _AS_THEY_ARE]
    parts += [np.log1p(values) for name, values in one.items() if name.startswith(("arrivals_", "departures_"))]
    parts += [values for name, values in one.items() if name.startswith(("free_", "share_"))]
    weekend = one["weekday"] >= 5
    for name, waves in _HOURS.items():
        angle = one[name] * (2 * np.pi / 24)
        for wave in range(1, waves + 1):
            pair = [np.sin(wave * angle), np.cos(wave * angle)]
            parts += pair + ([part * weekend for part in pair] if name == "hour_then" else [])
    parts += [one["weekday"] == day for day in (0, 4, 5, 6)]
    return np.column_stack([np.asarray(part, dtype=np.float32) for part in parts])


def _log_min(seconds: Floats | Ints) -> Floats:
    return np.log1p(np.clip(seconds, 0, LONG_S) / 60)

"""The model on change events: fitted on any sites, it says of any site how probable a free point is, now to four hours ahead.

Three layers. The flow of cars (`flow`) gives a probability from rates alone. A logistic correction for each of a few horizons,
one for full sites and one for the others, adds what the flow does not know (`features`). Each site's own leaning is learned day
by day from how earlier forecasts of that site came true (`SiteLeaning`).

A model is saved as an .npz file of plain arrays. Loading one runs no code, unlike a pickle, and needs no library's version.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evcharge.errors import UserError
from evcharge.forecast.change_events import SiteEvents
from evcharge.forecast.features import columns, features
from evcharge.forecast.flow import Flow
from evcharge.forecast.logistic import Correction
from evcharge.forecast.site_history import DAY_S, Floats, Ints, SiteHistory

#: Raised whenever a saved model cannot be used by newer code.
VERSION = 1
#: The horizons that have a correction of their own, in minutes. Between them it is interpolated.
HORIZONS_MIN = (10, 30, 60, 120, 240)
LONGEST_MIN = HORIZONS_MIN[-1]
SAMPLE_EVERY_S = 1_200
#: With fewer samples a correction learns nothing, and the flow alone speaks.
_FEWEST_SAMPLES = 500
#: At most so many samples are learned from, evenly chosen.
_MOST_SAMPLES = 200_000
_CHUNK = 50_000


def sample_times(events: SiteEvents, from_s: int, to_s: int) -> Ints:
    """The instants of a site, every 20 minutes in [from, to), at which the recording tells the state."""
    if not len(events):
        return np.zeros(0, dtype=np.int64)
    first = max(from_s, int(events.at_s[0]))
    last = min(to_s, int(events.at_s[-1]) + 1)
    at_s = np.arange(-(-first // SAMPLE_EVERY_S) * SAMPLE_EVERY_S, last, SAMPLE_EVERY_S, dtype=np.int64)
    return at_s[events.known(at_s)]


def is_free(events: SiteEvents, at_s: Ints) -> NDArray[np.bool_]:
    """Whether at least one point is free at each instant."""
    return events.available[np.clip(events.last_change(at_s), 0, None)] > 0


@dataclass(frozen=True, slots=True, eq=False)
class SiteModel:
    """A fitted model. `corrections` by horizon and by whether the site is full."""

    trained_until_s: int
    trained_sites: int
    trained_samples: int
    flow: Flow
    corrections: dict[tuple[int, bool], Correction]

    @classmethod
    def fit(
        cls,
        histories: Sequence[SiteHistory],
        until_s: int,
        on_progress: Callable[[str], None] = lambda _: None,
    ) -> SiteModel:
        """Learns from what happened before an instant. Raises UserError if nothing did."""
        on_progress("rates of arrival and departure")
        times = [sample_times(history.events, 0, until_s - HORIZONS_MIN[0] * 60) for history in histories]
        every = max(1, -(-sum(map(len, times)) // _MOST_SAMPLES))
        times = [at_s[::every] for at_s in times]
        samples = sum(map(len, times))
        if not samples:
            raise UserError("nothing to learn from: no site has a known state before that date")
        flow = Flow.fit(histories, until_s)
        found: list[tuple[SiteHistory, Ints, dict[str, Floats]]] = []
        for history, at_s in zip(histories, times, strict=True):
            if len(at_s):
                on_progress(f"features of {len(found) + 1} of {len(histories)} sites")
                found.append((history, at_s, features(history, flow.site(history), at_s, HORIZONS_MIN)))
        corrections = {}
        for place, minutes in enumerate(HORIZONS_MIN):
            on_progress(f"correction at {minutes} min")
            inputs, base, outcome, is_full = [], [], [], []
            for history, at_s, values in found:
                then = at_s + minutes * 60
                told = history.events.known(then) & (then < until_s)
                inputs.append(columns(values, place)[told])
                base.append(values["flow"][told, place])
                outcome.append(is_free(history.events, then)[told])
                is_full.append(values["free"][told, 0] == 0)
            x, z, y, full = (np.concatenate(parts) for parts in (inputs, base, outcome, is_full))
            del inputs
            for kind in (True, False):
                own = full == kind
                enough = own.sum() >= _FEWEST_SAMPLES
                corrections[minutes, kind] = (
                    Correction.fit(x[own], z[own], y[own]) if enough else Correction.none(x.shape[1])
                )
        return cls(until_s, len(found), samples, flow, corrections)

    def log_odds(self, history: SiteHistory, at_s: Ints, ahead_min: Sequence[int]) -> Floats:
        """The log-odds that a point is free so many minutes (0 to 240, rising) after each instant: (instants, horizons).

        They come from the changes at or before each instant. Without the site's leaning.
        """
        parts = [self._log_odds(history, at_s[i : i + _CHUNK], ahead_min) for i in range(0, len(at_s), _CHUNK)]
        return np.concatenate(parts) if parts else np.zeros((0, len(ahead_min)))

    def _log_odds(self, history: SiteHistory, at_s: Ints, ahead_min: Sequence[int]) -> Floats:
        wanted = sorted({*HORIZONS_MIN, *(minutes for minutes in ahead_min if minutes > 0)})
        found = features(history, self.flow.site(history), at_s, wanted)
        is_full = found["free"][:, 0] == 0
        shift = np.zeros((len(at_s), len(HORIZONS_MIN)))
        for place, minutes in enumerate(HORIZONS_MIN):
            inputs = columns(found, wanted.index(minutes))
            for kind in (True, False):
                own = is_full == kind
                if own.any():
                    shift[own, place] = self.corrections[minutes, kind](inputs[own])
        result = np.zeros((len(at_s), len(ahead_min)))
        for place, minutes in enumerate(ahead_min):
            if minutes <= 0:
                result[:, place] = np.where(is_full, -np.inf, np.inf)
            else:
                result[:, place] = found["flow"][:, wanted.index(minutes)] + between(shift, minutes)
        return result


def between(values: Floats, minutes: int) -> Floats:
    """The value at a horizon from those at HORIZONS_MIN, in the logarithm of time; towards 0 minutes it goes to zero."""
    edges = np.log(np.array((0, *HORIZONS_MIN)) + 10.0)
    where = float(np.interp(np.log(minutes + 10.0), edges, np.arange(len(edges))))
    whole = min(int(where), len(HORIZONS_MIN) - 1)
    padded = np.concatenate([np.zeros((len(values), 1)), values], axis=1)
    share = where - whole
    return padded[:, whole] * (1 - share) + padded[:, whole + 1] * share


class SiteLeaning:
    """How a site differs from what the model says of it, learned from its forecasts that have come true or not.

    One shift of the log-odds for each horizon, when full and when not. It changes at midnight UTC, from what was known then.
    """

    #: Of a day's weight this is left a day later: half after three weeks.
    KEPT_A_DAY = 0.967
    #: How much evidence it takes (as a sum of p(1-p) over samples of 20 minutes) until a shift is half believed.
    LEAN = 60.0

    def __init__(self, model: SiteModel, history: SiteHistory, from_s: int, to_s: int) -> None:
        """Learns from forecasts made in [from, to) on the site's own recording."""
        self._first_day = from_s // DAY_S
        days = max(1, -(-to_s // DAY_S) - self._first_day + 1)
        gained, weight = (np.zeros((days + 1, len(HORIZONS_MIN), 2)) for _ in range(2))
        at_s = sample_times(history.events, from_s, to_s)
        if len(at_s):
            chance = 1 / (1 + np.exp(-model.log_odds(history, at_s, HORIZONS_MIN)))
            full = 1 - is_free(history.events, at_s).astype(int)
            for place, minutes in enumerate(HORIZONS_MIN):
                then = at_s + minutes * 60
                told = history.events.known(then)
                # a forecast teaches on the day on which it came true
                told_day = np.minimum(then[told] // DAY_S - self._first_day, days)
                p, y = chance[told, place], is_free(history.events, then[told])
                cell = told_day, full[told]
                np.add.at(gained[:, place], cell, y - p)
                np.add.at(weight[:, place], cell, p * (1 - p))
        self._shift = np.zeros_like(gained)
        sums = np.zeros((2, *gained.shape[1:]))
        for day in range(days + 1):
            self._shift[day] = sums[0] / (sums[1] + self.LEAN)
            sums = (sums + np.stack([gained[day], weight[day]])) * self.KEPT_A_DAY

    def __call__(self, at_s: Ints, is_full: NDArray[np.bool_], ahead_min: Sequence[int]) -> Floats:
        """The shifts of the log-odds of forecasts made at instants: (instants, horizons)."""
        day = np.clip(at_s // DAY_S - self._first_day, 0, len(self._shift) - 1)
        values = self._shift[day, :, is_full.astype(int)]
        return np.stack([between(values, minutes) for minutes in ahead_min], axis=1)


def predict(
    model: SiteModel,
    history: SiteHistory,
    at_s: Ints,
    ahead_min: Sequence[int],
    leaning: SiteLeaning | None = None,
) -> Floats:
    """The probabilities that a point is free so many minutes (0 to 240, rising) after each instant: (instants, horizons)."""
    found = model.log_odds(history, at_s, ahead_min)
    if leaning is not None:
        found = found + leaning(at_s, ~is_free(history.events, at_s), ahead_min)
    return 1 / (1 + np.exp(-np.clip(found, -50, 50)))


def save(model: SiteModel, path: Path) -> None:
    """Writes a model as an .npz file."""
    about = {
        "version": VERSION,
        "trained_until_s": model.trained_until_s,
        "trained_sites": model.trained_sites,
        "trained_samples": model.trained_samples,
        "arrivals_per_s": model.flow.arrivals_per_s,
    }
    arrays: dict[str, Any] = {
        "departures_per_s": model.flow.departures_per_s,
        "arrivals_shape": model.flow.arrivals_shape,
    }
    for (minutes, is_full), correction in model.corrections.items():
        for name in ("mean", "spread", "weights"):
            arrays[f"{minutes}_{int(is_full)}_{name}"] = getattr(correction, name)
    with path.open("wb") as file:
        np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)


def load(path: Path) -> SiteModel:
    """Reads a model that `save` wrote. Raises UserError if it is damaged or of another version."""
    try:
        with np.load(path, allow_pickle=False) as held:
            about = json.loads(str(held["about"]))
            if about["version"] != VERSION:
                raise UserError(
                    f"{path}: a model of version {about['version']}, this code reads {VERSION}: train it again"
                )
            corrections = {
                (minutes, is_full): Correction(
                    *(held[f"{minutes}_{int(is_full)}_{name}"] for name in ("mean", "spread", "weights"))
                )
                for minutes in HORIZONS_MIN
                for is_full in (True, False)
            }
            flow = Flow(held["departures_per_s"], float(about["arrivals_per_s"]), held["arrivals_shape"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: no model that can be read ({error})") from None
    until_s, sites, samples = (int(about[name]) for name in ("trained_until_s", "trained_sites", "trained_samples"))
    return SiteModel(until_s, sites, samples, flow, corrections)

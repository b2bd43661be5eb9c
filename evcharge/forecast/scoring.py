"""Scores the model on change events: it learns from what was before a date, and forecasts what came later, as time goes on.

A forecast knows what happened before it, on its own site, and the model fitted before the date. What it is compared with: "no
change", and the climatology of the training time (site, local hour, weekend).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from evcharge.clock import to_iso
from evcharge.errors import UserError
from evcharge.forecast.change_events import SiteEvents
from evcharge.forecast.floor import SCORED_MINUTES
from evcharge.forecast.metrics import HorizonScore, score_horizon
from evcharge.forecast.site_history import DAY_S, Floats, Ints, SiteHistory, is_weekend
from evcharge.forecast.site_model import SiteLeaning, SiteModel, is_free, predict, sample_times

#: A site's leaning is learned from so many days before the test.
_LEARNED_DAYS = 90
#: A site's climatology leans on that of all sites as if so many samples had been seen.
_LEAN_SAMPLES = 20.0


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """Scores by horizon, and what they were made from."""

    trained_until_at: datetime
    tested_until_at: datetime
    trained_sites: int
    trained_samples: int
    tested_sites: tuple[str, ...]
    unseen_sites: tuple[str, ...]
    horizons: tuple[HorizonScore, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "trained_until_at": to_iso(self.trained_until_at),
            "tested_until_at": to_iso(self.tested_until_at),
            "trained_sites": self.trained_sites,
            "trained_samples": self.trained_samples,
            "tested_sites": list(self.tested_sites),
            "unseen_sites": list(self.unseen_sites),
            "horizons": [score.to_json() for score in self.horizons],
        }


class Climatology:
    """How often a point was free by site, local hour and weekend, before a date. A new site has the mean of all."""

    def __init__(self, histories: Sequence[SiteHistory], until_s: int) -> None:
        sums: dict[str, Floats] = {}
        for history in histories:
            at_s = sample_times(history.events, 0, until_s)
            cells = np.zeros((2, 2, 24))
            where = _hour_cell(history, at_s)
            np.add.at(cells[0], where, is_free(history.events, at_s).astype(float))
            np.add.at(cells[1], where, 1.0)
            sums[history.events.site] = cells
        total = sum(sums.values(), np.zeros((2, 2, 24)))
        overall = total[0].sum() / max(1.0, total[1].sum())
        self._common = (total[0] + _LEAN_SAMPLES * overall) / (total[1] + _LEAN_SAMPLES)
        self._sites = {
            site: (cells[0] + _LEAN_SAMPLES * self._common) / (cells[1] + _LEAN_SAMPLES) for site, cells in sums.items()
        }

    def __call__(self, history: SiteHistory, at_s: Ints) -> Floats:
        return self._sites.get(history.events.site, self._common)[_hour_cell(history, at_s)]


def _hour_cell(history: SiteHistory, at_s: Ints) -> tuple[Ints, Ints]:
    local = history.local(at_s)
    return is_weekend(local).astype(int), local % DAY_S // 3600


def score_events(
    sites: Sequence[SiteEvents], until_at: datetime, *, on_progress: Callable[[str], None] = lambda _: None
) -> ScoreReport:
    """Learns from all sites before a date, and scores forecasts for them from then on.

    Raises UserError if nothing is left to learn from or to score.
    """
    return _report([_samples(sites, sites, until_at, on_progress)], until_at)


def score_unseen_sites(
    sites: Sequence[SiteEvents], until_at: datetime, *, on_progress: Callable[[str], None] = lambda _: None
) -> ScoreReport:
    """Scores forecasts for each site by a model that learned from the other sites only.

    Raises UserError if nothing is left to learn from or to score, as for a single site.
    """
    until_s = int(until_at.timestamp())
    parts = []
    for site in sites:
        if len(sample_times(site, until_s, int(site.at_s[-1]) + 1)):
            others = [other for other in sites if other is not site]
            parts.append(_samples([site], others, until_at, on_progress))
    if not parts:
        raise UserError(f"nothing to score from {until_at.astimezone(UTC).date()} on: {_extent(sites)}")
    return _report(parts, until_at)


@dataclass(frozen=True, slots=True)
class _Scored:
    """What one model was asked. Each part has probability, free now, climatology and outcome, one element a sample."""

    model: SiteModel
    taught: frozenset[str]
    tested: tuple[str, ...]
    until_s: int
    parts: dict[int, list[tuple[Any, ...]]]


def _samples(
    sites: Sequence[SiteEvents],
    learn_from: Sequence[SiteEvents],
    until_at: datetime,
    on_progress: Callable[[str], None],
) -> _Scored:
    until_s = int(until_at.timestamp())
    sites = [site for site in sites if len(site) > 1]
    day = until_at.astimezone(UTC).date()
    # what comes later is not even there when the model is fitted
    past = [site.before(until_s) for site in learn_from]
    teachers = [SiteHistory(site) for site in past if len(sample_times(site, 0, until_s))]
    if not teachers:
        raise UserError(f"nothing to learn from before {day}: {_extent(learn_from)}")
    if not any(len(sample_times(site, until_s, int(site.at_s[-1]))) for site in sites):
        raise UserError(f"nothing to score from {day} on: {_extent(sites)}")
    model = SiteModel.fit(teachers, until_s, on_progress)
    climatology = Climatology(teachers, until_s)
    parts: dict[int, list[tuple[Any, ...]]] = {minutes: [] for minutes in SCORED_MINUTES}
    tested = []
    for site in sites:
        end_s = int(site.at_s[-1])
        at_s = sample_times(site, until_s, end_s)
        if not len(at_s):
            continue
        history = SiteHistory(site)
        on_progress(f"forecasts for {site.site}")
        tested.append(site.site)
        leaning = SiteLeaning(model, history, max(int(site.at_s[0]), until_s - _LEARNED_DAYS * DAY_S), end_s)
        chance = predict(model, history, at_s, SCORED_MINUTES, leaning)
        free_now = is_free(site, at_s)
        for place, minutes in enumerate(SCORED_MINUTES):
            then = at_s + minutes * 60
            told = site.known(then)
            usual = climatology(history, then[told])
            parts[minutes].append((chance[told, place], free_now[told], usual, is_free(site, then[told])))
    return _Scored(
        model,
        frozenset(history.events.site for history in teachers),
        tuple(tested),
        max(int(site.at_s[-1]) for site in sites),
        parts,
    )


def _report(scored: Sequence[_Scored], until_at: datetime) -> ScoreReport:
    scores = []
    for minutes in SCORED_MINUTES:
        parts = [part for one in scored for part in one.parts[minutes]]
        chance, free_now, usual, outcome = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        if not len(chance):
            raise UserError(f"nothing to score: no state is known {minutes} minutes after one from the date on")
        scores.append(score_horizon(minutes, chance, free_now, usual, outcome, ~free_now))
    return ScoreReport(
        trained_until_at=until_at,
        tested_until_at=datetime.fromtimestamp(max(one.until_s for one in scored), UTC),
        trained_sites=max(one.model.trained_sites for one in scored),
        trained_samples=max(one.model.trained_samples for one in scored),
        tested_sites=tuple(site for one in scored for site in one.tested),
        unseen_sites=tuple(site for one in scored for site in one.tested if site not in one.taught),
        horizons=tuple(scores),
    )


def _extent(sites: Sequence[SiteEvents]) -> str:
    sites = [site for site in sites if len(site) > 1]
    if not sites:
        return "no site has two changes"
    first, last = min(int(site.at_s[0]) for site in sites), max(int(site.at_s[-1]) for site in sites)
    days = [datetime.fromtimestamp(at_s, UTC).date() for at_s in (first, last)]
    return f"the changes are from {days[0]} to {days[1]}"

"""How good forecasts of "at least one outlet is free" are. Accuracy is left out: "no change" has .95 at 30 minutes.

Brier scores are means of (probability - outcome) squared [Brier 1950]; skill is what is saved of a reference's Brier score.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Bins of equal width of the calibration error, as for the published baseline of the four German sites.
CALIBRATION_BINS = 10


@dataclass(frozen=True, slots=True)
class HorizonScore:
    """The score at one horizon. A figure is None where there is nothing to compute it from.

    `brier_skill` is against persistence ("no change"). `full_now`: samples at whose time no outlet was free.
    """

    minutes: int
    samples: int
    brier: float
    brier_persistence: float
    brier_climatology: float
    brier_skill: float | None
    brier_skill_climatology: float | None
    ece: float
    samples_full_now: int
    brier_full_now: float | None
    brier_persistence_full_now: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def brier(probability: ArrayLike, outcome: ArrayLike) -> float:
    """The mean squared distance of probabilities from outcomes (0 or 1)."""
    distance = np.asarray(probability, dtype=float) - np.asarray(outcome, dtype=float)
    return float(np.mean(distance * distance))


def skill(score: float, reference: float) -> float | None:
    """The part of a reference's Brier score that is saved: 1 is perfect, 0 as good, below 0 worse. None: it has no error."""
    return 1.0 - score / reference if reference > 0 else None


def calibration_error(probability: ArrayLike, outcome: ArrayLike, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error: the distance of mean probability and mean outcome in bins of equal width, by samples."""
    chance, came_true = np.asarray(probability, dtype=float), np.asarray(outcome, dtype=float)
    of_bin: NDArray[np.int64] = np.clip((chance * bins).astype(np.int64), 0, bins - 1)
    gaps = np.bincount(of_bin, weights=chance - came_true, minlength=bins)
    return float(np.abs(gaps).sum() / chance.size)


def score_horizon(
    minutes: int,
    probability: ArrayLike,
    persistence: ArrayLike,
    climatology: ArrayLike,
    outcome: ArrayLike,
    full_now: ArrayLike,
) -> HorizonScore:
    """Scores the probabilities that an outlet is free `minutes` later. All arrays have one element a sample.

    `persistence` is 1 where an outlet is free at the time of the forecast. Raises ValueError without any sample.
    """
    chance, came_true = np.asarray(probability, dtype=float), np.asarray(outcome, dtype=float)
    unchanged, usual = np.asarray(persistence, dtype=float), np.asarray(climatology, dtype=float)
    full = np.asarray(full_now, dtype=bool)
    if not chance.size:
        raise ValueError("no samples to score")
    own, reference, usually = brier(chance, came_true), brier(unchanged, came_true), brier(usual, came_true)
    return HorizonScore(
        minutes=minutes,
        samples=int(chance.size),
        brier=own,
        brier_persistence=reference,
        brier_climatology=usually,
        brier_skill=skill(own, reference),
        brier_skill_climatology=skill(own, usually),
        ece=calibration_error(chance, came_true),
        samples_full_now=int(full.sum()),
        brier_full_now=brier(chance[full], came_true[full]) if full.any() else None,
        brier_persistence_full_now=brier(unchanged[full], came_true[full]) if full.any() else None,
    )

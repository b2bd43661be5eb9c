"""A logistic regression that corrects given log-odds: where it has learned nothing, they stay as they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]

#: How strongly a correction is held back. Chosen on 2024-07 to 2025-06 of the four German sites.
_RIDGE = 200.0
_MOST_STEPS = 12
#: A column that varies less than this is no evidence.
_LEAST_SPREAD = 1e-3
#: Values are cut off at so many standard deviations: a new site must not be extrapolated.
_MOST_SPREADS = 4.0
_MOST_LOG_ODDS = 15.0


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """A linear function of features, in log-odds. All arrays have one element a feature, and `weights` the constant first."""

    mean: Floats
    spread: Floats
    weights: Floats

    @classmethod
    def none(cls, columns: int) -> Correction:
        return cls(np.zeros(columns), np.ones(columns), np.zeros(columns + 1))

    @classmethod
    def fit(cls, columns: Matrix, log_odds: Floats, outcome: NDArray[np.bool_], ridge: float = _RIDGE) -> Correction:
        """Fits by Newton's method. `columns` is (samples, features); `log_odds` is what to correct."""
        mean, spread = columns.mean(axis=0, dtype=np.float64), columns.std(axis=0, dtype=np.float64)
        spread = np.where(spread > _LEAST_SPREAD, spread, np.inf)
        inputs = _standard(columns, mean, spread)
        held = np.full(inputs.shape[1], ridge)
        held[0] = 1.0
        weights = np.zeros(inputs.shape[1])
        base = np.clip(log_odds, -_MOST_LOG_ODDS, _MOST_LOG_ODDS)
        loss, now = _loss(base, outcome, weights, held), base
        for _ in range(_MOST_STEPS):
            chance = 1 / (1 + np.exp(-now))
            slope = inputs.T @ (outcome - chance).astype(np.float32) - held * weights
            curve = np.maximum(chance * (1 - chance), 1e-6).astype(np.float32)
            step = np.linalg.solve((inputs * curve[:, None]).T @ inputs + np.diag(held), slope)
            # a whole step may be too long where nearly all outcomes are the same
            for _ in range(8):
                tried = np.clip(base + inputs @ (weights + step), -_MOST_LOG_ODDS, _MOST_LOG_ODDS)
                tried_loss = _loss(tried, outcome, weights + step, held)
                if tried_loss <= loss:
                    break
                step = step / 2
            else:
                break
            gain, loss, now, weights = loss - tried_loss, tried_loss, tried, weights + step
            if gain < 0.01:
                break
        return cls(mean, spread, weights)

    def __call__(self, columns: Matrix) -> Floats:
        return (_standard(columns, self.mean, self.spread) @ self.weights.astype(np.float32)).astype(float)


def _standard(columns: Matrix, mean: Floats, spread: Floats) -> Matrix:
    inputs = np.empty((len(columns), columns.shape[1] + 1), dtype=np.float32)
    inputs[:, 0] = 1
    inputs[:, 1:] = np.clip((columns - mean) / spread, -_MOST_SPREADS, _MOST_SPREADS)
    return inputs


def _loss(log_odds: Floats, outcome: NDArray[np.bool_], weights: Floats, held: Floats) -> float:
    return float(np.logaddexp(0, np.where(outcome, -log_odds, log_odds)).sum() + (held * weights * weights).sum() / 2)

"""What a forecast must reach at the least. The check in Dagster and the training's own report ask here."""

from __future__ import annotations

#: Horizons that are scored and published, in minutes.
SCORED_MINUTES = (10, 30, 60, 120)
#: The least skill (%) against "no change" at each of the scored minutes, and the largest calibration error, that are accepted:
#: those of a plain logistic regression on four German sites (docs/forecast.md).
FLOOR_PERCENT = dict(zip(SCORED_MINUTES, (7.0, 17.0, 28.0, 38.0), strict=True))
MOST_ECE = 0.013

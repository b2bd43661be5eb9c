"""The model as one JSON document, and its version: a hash of what was learned, so equal data have equal versions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from evcharge.forecast.model import KnownStation, Model, SiteKind

#: The version of the document's form. A document of another form is not read.
FORMAT = 1
_DIGITS = 5


def parameters(model: Model) -> dict[str, Any]:
    """What was learned, rounded: the least that a forecast needs, some 50 bytes a station."""
    return {
        "format": FORMAT,
        "kinds": [
            {
                "name": kind.name,
                "power_class": kind.power_class,
                "share": _rounded(kind.share),
                "hazards": _rounded(kind.hazards),
                "arrivals": _rounded(kind.arrivals),
            }
            for kind in model.kinds
        ],
        "stations": {
            station_id: [known.sessions, _rounded(known.rate), *(_rounded(weight) for weight in known.weights)]
            for station_id, known in sorted(model.stations.items())
        },
        "calibration": _rounded(model.calibration),
    }


def version_of(learned: Mapping[str, Any]) -> str:
    """The version of a model with these parameters."""
    return hashlib.sha256(orjson.dumps(learned, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]


def model_of(learned: Mapping[str, Any], **described: Any) -> Model:
    """The model with these parameters; `described` are its other fields. Raises ValueError for another form."""
    if learned.get("format") != FORMAT:
        raise ValueError(f"the saved model has form {learned.get('format')!r}, this version reads {FORMAT}")
    return Model(
        kinds=tuple(
            SiteKind(
                kind["name"],
                kind["power_class"],
                kind["share"],
                np.array(kind["hazards"], dtype=np.float64),
                np.array(kind["arrivals"], dtype=np.float64),
            )
            for kind in learned["kinds"]
        ),
        stations={
            station_id: KnownStation(tuple(weights), rate, sessions)
            for station_id, (sessions, rate, *weights) in learned["stations"].items()
        },
        calibration=np.array(learned["calibration"], dtype=np.float64),
        **described,
    )


def as_saved(model: Model) -> Model:
    """The model as it is read again, with its version."""
    learned = parameters(model)
    read = model_of(learned, version=version_of(learned), source=model.source)
    return replace(read, trained_at=model.trained_at, trained_on=model.trained_on, score=model.score)


def _rounded(values: Any) -> Any:
    """Values to five significant digits: what is beyond is noise, and differs with the order of a sum."""
    found = np.asarray(values, dtype=np.float64)
    exponent = np.floor(np.log10(np.where(found == 0, 1.0, np.abs(found))))
    scale = 10.0 ** (_DIGITS - 1 - exponent)
    return (np.round(found * scale) / scale).tolist()

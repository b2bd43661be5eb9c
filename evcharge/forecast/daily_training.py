"""Today's training: reads the warehouse, saves the model and its score. Repeating it with the same sessions changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from evcharge.connections import elasticsearch, elasticsearch_errors
from evcharge.errors import UserError
from evcharge.forecast.floor import FLOOR_PERCENT, MOST_ECE
from evcharge.forecast.metrics import HorizonScore
from evcharge.forecast.model_store import Saved, newest_model, newest_score, save, save_score
from evcharge.forecast.training import DAY_S, train
from evcharge.forecast.warehouse_sessions import Window, has_sessions, read_window
from evcharge.settings import Settings

#: With fewer samples at which all outlets were taken, skill is luck: it is shown, and not judged.
LEAST_FULL = 200
#: A model of fewer days than these learns much from another quarter of a day.
_GROWN_UP_DAYS = 4.0


@dataclass(frozen=True, slots=True)
class Report:
    """What a training did: rows and days that it read, the version that it saved, and its score (None: too short a past)."""

    sessions: int
    days: float
    stations: int
    kinds: tuple[str, ...]
    saved: Saved
    score: dict[str, Any] | None


def train_daily(settings: Settings, now: datetime) -> Report | None:
    """Trains on the newest `settings.forecast_days` days and saves the model; None if no session was loaded yet.

    Raises ServerDownError.
    """
    window = read_window(settings, settings.forecast_days)
    if window is None:
        return None
    trained = train(window.counts, window.sample, window.since_s, window.until_s, _source(window))
    days = (window.until_s - window.since_s) / DAY_S
    described = {
        "sessions": window.sessions,
        "stations": len(trained.model.stations),
        "days": round(days, 2),
        "from": _at(window.since_s),
        "to": _at(window.until_s),
    }
    model = trained.model.with_description(described)
    score = None
    if trained.tested is not None and len(trained.tested.free_now):
        horizons = trained.tested.scores()
        score = {
            "horizons": [horizon.to_json() for horizon in horizons],
            "from": _at(trained.tested_from_s),
            "to": _at(window.until_s),
            "stations": len({*window.sample.site.tolist()}),
            "on": "this platform's sessions: a model of the days before forecasts the last days, with what was known then",
            "shortcomings": shortcomings(horizons),
        }
    with elasticsearch_errors(settings), elasticsearch(settings) as client:
        saved = save(client, model, now)
        if score is not None and newest_score(client) != score | {"version": saved.version}:
            save_score(client, score | {"version": saved.version})
    kinds = tuple(f"{kind.name} ({kind.share:.0%})" for kind in model.kinds)
    return Report(window.sessions, days, len(model.stations), kinds, saved, score)


def shortcomings(horizons: list[HorizonScore]) -> list[str]:
    """What is worse than the floor, in words; nothing where too little was full to judge."""
    found = []
    for horizon in horizons:
        floor = FLOOR_PERCENT[horizon.minutes]
        if horizon.samples_full_now < LEAST_FULL:
            continue
        if horizon.brier_skill is not None and horizon.brier_skill * 100 < floor:
            found.append(f"skill {horizon.brier_skill:.1%} at {horizon.minutes} min is below {floor:g} %")
        if horizon.ece > MOST_ECE:
            found.append(f"calibration error {horizon.ece:.3f} at {horizon.minutes} min is above {MOST_ECE}")
    return found


def saved_score(settings: Settings) -> dict[str, Any]:
    """The newest score. Raises UserError before the first, ServerDownError."""
    with elasticsearch_errors(settings), elasticsearch(settings) as client:
        score = newest_score(client)
    if score is None:
        raise UserError("no forecast of this platform was scored yet: that takes two days of loaded sessions")
    return score


def why_train(settings: Settings, last_at: datetime | None, now: datetime) -> str | None:
    """Why the model should be trained now; None if it need not. `last_at` is when it was last tried. Raises ServerDownError.

    The first model is trained as soon as a session is loaded. A model of less than four days is trained again every six hours,
    others once a day.
    """
    if last_at is None:
        return "no model was trained yet" if has_sessions(settings) else None
    with elasticsearch_errors(settings), elasticsearch(settings) as client:
        days = newest_model(client).trained_on.get("days")
    every = timedelta(hours=23) if isinstance(days, float) and days >= _GROWN_UP_DAYS else timedelta(hours=6)
    return f"it was last trained {(now - last_at) / timedelta(hours=1):.0f} h ago" if now - last_at > every else None


def _source(window: Window) -> str:
    days = (window.until_s - window.since_s) / DAY_S
    return (
        f"{window.sessions:,} sessions of this platform, {days:.1f} days up to {_at(window.until_s)[:16]}Z; "
        "published figures where they are few"
    )


def _at(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

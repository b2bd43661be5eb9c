"""The forecast's question, and what of a station's document it reads: an unknown outlet is never shown as free."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from listed_station import FRESH, NOW, SINCE, STALE, event, registered

from evcharge.errors import UserError
from evcharge.forecast.model import PRIOR
from evcharge.queries.availability import read_station
from evcharge.queries.forecast import ForecastQuestion, likely_free, minutes_of, read_forecast


@pytest.mark.parametrize(
    ("text", "minutes"), [("30m", 30), ("1h30m", 90), ("2h", 120), ("90", 90), (" 1H 5 min", 65), ("0.5h", 30)]
)
def test_a_time_from_now_is_read(text: str, minutes: float) -> None:
    assert minutes_of(text) == minutes


@pytest.mark.parametrize("text", ["", "soon", "-5m", "1d", "30m; DROP TABLE", "m", "1e3"])
def test_another_text_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match="is not a time from now"):
        minutes_of(text)


@pytest.mark.parametrize(
    "bad",
    [
        {"in_minutes": -1},
        {"in_minutes": 241},
        {"in_minutes": float("nan")},
        {"min_power_kw": -3},
        {"min_power_kw": float("inf")},
        {"connector": "toaster"},
    ],
)
def test_a_bad_question_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        ForecastQuestion("s", **bad)


def test_cars_queue_and_free_outlets_are_read() -> None:
    state = registered()
    event(state, "e1", "started", timedelta(minutes=40))
    event(state, "e1", "suspended", timedelta(minutes=10), sequence=1)
    event(state, "e3", "started", timedelta(minutes=50))
    event(state, "e3", "stopped", timedelta(minutes=20), sequence=1)
    station, now, remark = read_forecast(state.document(), FRESH, SINCE, None, None, {"s": [(5.0, 0.9)]})
    assert (now.free, len(now.cars), now.unknown, now.broken) == (1, 1, 1, 0)
    assert now.cars[0].age_s == pytest.approx(2400)
    assert now.cars[0].blocked_s == pytest.approx(600)
    assert now.inbound == ((5.0, 0.9),)
    assert now.power_class == "fast DC"
    assert remark is not None
    assert "1 of 3 outlets is unknown" in remark
    assert station.total == 3


def test_only_fitting_outlets_count() -> None:
    state = registered()
    event(state, "e1", "started", timedelta(minutes=40))
    event(state, "e2", "started", timedelta(minutes=20))
    _, now, _ = read_forecast(state.document(), FRESH, SINCE, "J1772COMBO", 100.0, {})
    assert (now.outlets, len(now.cars)) == (1, 1)
    assert now.cars[0].age_s == pytest.approx(2400)


def test_of_a_stale_state_everything_is_unknown() -> None:
    state = registered()
    event(state, "e1", "started", timedelta(minutes=40))
    _, now, remark = read_forecast(state.document(), STALE, SINCE, None, None, {})
    assert (now.free, len(now.cars), now.unknown) == (0, 0, 3)
    assert remark is not None
    assert "unknown" in remark


@pytest.mark.parametrize(("status", "word"), [("P", "planned"), ("T", "closed")])
def test_a_station_that_is_not_open_has_no_outlet(status: str, word: str) -> None:
    state = registered(status_code=status)
    event(state, "e1", "started", timedelta(minutes=40))
    event(state, "e1", "stopped", timedelta(minutes=20), sequence=1)
    _, now, remark = read_forecast(state.document(), FRESH, SINCE, None, None, {})
    assert now.outlets == 0
    assert remark is not None
    assert word in remark


def test_the_map_shows_no_chance_of_a_station_of_which_nothing_is_known() -> None:
    silent, closed, open_one = registered(), registered(status_code="T"), registered()
    event(open_one, "e1", "started", timedelta(minutes=40))
    event(open_one, "e1", "stopped", timedelta(minutes=20), sequence=1)
    stations = [read_station(state.document(), FRESH, SINCE) for state in (silent, closed, open_one)]
    unknown, never, likely = likely_free(PRIOR, stations, ["America/New_York", None, "no zone"], 30, NOW)
    assert unknown is None
    assert never == 0.0
    assert likely is not None
    assert 0.5 < likely < 1

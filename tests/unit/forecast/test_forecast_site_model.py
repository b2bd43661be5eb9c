"""The model on change events: right where the truth is known, blind to the future, usable at sites it never saw."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from evcharge.errors import UserError
from evcharge.forecast.change_events import SiteEvents, site_events
from evcharge.forecast.site_history import DAY_S, LocalTime, SiteHistory
from evcharge.forecast.site_model import SiteLeaning, SiteModel, is_free, load, predict, sample_times, save

# fitting takes a second or two
pytestmark = pytest.mark.slow

BEGINS_S = int(datetime(2025, 1, 6, tzinfo=UTC).timestamp())
HOUR_S = 3_600


def memoryless(
    site: str, days: float, come_a_h: float, leave_a_h: float, points: int = 1, seed: int = 0, begins_s: int = BEGINS_S
) -> SiteEvents:
    """A site where cars come, while a point is free, and leave at constant rates an hour."""
    random = np.random.default_rng(seed)
    at, free = float(begins_s), points
    times, counts = [begins_s], [free]
    while at < begins_s + days * DAY_S:
        come, leave = come_a_h * (free > 0), leave_a_h * (points - free)
        at += random.exponential(HOUR_S / (come + leave))
        free += -1 if random.random() < come / (come + leave) else 1
        times.append(int(at))
        counts.append(free)
    return site_events(site, "UTC", np.array(times), np.array(counts), np.full(len(times), points))


@pytest.fixture(scope="module")
def sites() -> list[SiteHistory]:
    return [
        SiteHistory(memoryless("one", 120, 0.5, 1.0, seed=1)),
        SiteHistory(memoryless("two", 120, 1.0, 0.7, points=2, seed=2)),
    ]


@pytest.fixture(scope="module")
def model(sites: list[SiteHistory]) -> SiteModel:
    return SiteModel.fit(sites, BEGINS_S + 90 * DAY_S)


def test_where_the_truth_is_known_the_model_comes_close_to_it(model: SiteModel) -> None:
    come, leave = 0.5, 1.0
    history = SiteHistory(memoryless("one", 60, come, leave, seed=9))
    at_s = sample_times(history.events, BEGINS_S + 40 * DAY_S, BEGINS_S + 59 * DAY_S)
    ahead = (5, 10, 20, 30, 45, 60, 120, 180, 240)
    found = predict(model, history, at_s, ahead)
    settled = leave / (come + leave)
    fade = np.exp(-(come + leave) * np.array(ahead) / 60)
    truth = settled + (is_free(history.events, at_s)[:, None] - settled) * fade
    # it learned from 13,000 samples; even the truth has a Brier score of .2
    assert np.sqrt(np.mean((found - truth) ** 2, axis=0)).max() < 0.08
    assert found.mean(axis=0) == pytest.approx(truth.mean(axis=0), abs=0.04)


def test_a_forecast_of_no_time_is_the_state(model: SiteModel, sites: list[SiteHistory]) -> None:
    at_s = sample_times(sites[1].events, BEGINS_S + 80 * DAY_S, BEGINS_S + 81 * DAY_S)
    assert predict(model, sites[1], at_s, (0,))[:, 0] == pytest.approx(is_free(sites[1].events, at_s).astype(float))


def test_changes_after_an_instant_change_no_forecast_up_to_it(model: SiteModel, sites: list[SiteHistory]) -> None:
    events = sites[1].events
    cut_s = BEGINS_S + 100 * DAY_S + 7 * HOUR_S + 1234
    known = events.before(cut_s)
    for seed in (0, 1):
        random = np.random.default_rng(seed)
        after = np.sort(random.integers(cut_s, cut_s + 9 * DAY_S, 300))
        other = site_events(
            "two",
            "UTC",
            np.concatenate([known.at_s, after]),
            np.concatenate([known.available, random.integers(0, 3, 300)]),
            np.concatenate([known.total, np.full(300, 2)]),
        )
        at_s = np.append(sample_times(events, BEGINS_S + 60 * DAY_S, cut_s), cut_s - 1)
        found = []
        for history in (sites[1], SiteHistory(other)):
            leaning = SiteLeaning(model, history, BEGINS_S + 30 * DAY_S, cut_s + DAY_S)
            found.append(predict(model, history, at_s, (10, 30, 60, 120, 240), leaning))
        assert np.array_equal(found[0], found[1])


def test_a_change_that_was_seen_changes_the_forecast(model: SiteModel, sites: list[SiteHistory]) -> None:
    events = sites[0].events
    place = len(events) - 10
    # the site was full, and one second later a point is free
    place += int(events.available[place] == 0)
    instant = np.array([events.at_s[place] - 1, events.at_s[place] + 1])
    taken, free = predict(model, sites[0], instant, (10,))[:, 0]
    assert taken < 0.5 < free


def test_a_site_that_the_model_never_saw_is_forecast_well(model: SiteModel) -> None:
    new = SiteHistory(memoryless("new", 30, 2.0, 0.5, points=4, seed=5))
    at_s = sample_times(new.events, BEGINS_S, BEGINS_S + 29 * DAY_S)
    chance = predict(model, new, at_s, (60,))[:, 0]
    outcome, now = is_free(new.events, at_s + 3600), is_free(new.events, at_s)
    late = at_s > BEGINS_S + 7 * DAY_S
    assert ((chance - outcome)[late] ** 2).mean() < 0.75 * (now != outcome)[late].mean()
    # with its first change alone a forecast is possible already
    first = predict(
        model, SiteHistory(memoryless("newer", 0.01, 1.0, 1.0, points=8)), np.array([BEGINS_S + 1]), (10, 240)
    )
    assert ((first > 0) & (first < 1)).all()


def test_a_site_whose_points_change_is_forecast(model: SiteModel) -> None:
    events = memoryless("grows", 20, 1.0, 1.0, points=2, seed=3)
    grown = replace(events, total=np.where(np.arange(len(events)) > 100, 30, 2))
    grown = replace(grown, available=np.where(grown.total == 30, events.available + 28, events.available))
    at_s = sample_times(grown, BEGINS_S, BEGINS_S + 20 * DAY_S)
    found = predict(model, SiteHistory(grown), at_s, (10, 120))
    assert np.isfinite(found).all()
    assert found[grown.available[grown.last_change(at_s)] > 20].min() > 0.98


def test_a_leaning_follows_a_site_that_is_unlike_the_others() -> None:
    """Here cars come by a rule that no rate knows: an hour after the site is free, at once, all day."""
    steps = np.arange(0, 80 * DAY_S, HOUR_S)
    clockwork = site_events(
        "clock", "UTC", BEGINS_S + steps, (steps // HOUR_S % 2).astype(int), np.ones(len(steps), dtype=int)
    )
    teacher = SiteHistory(memoryless("one", 60, 0.3, 0.3, seed=1))
    model, history = SiteModel.fit([teacher], BEGINS_S + 60 * DAY_S), SiteHistory(clockwork)
    at_s = sample_times(clockwork, BEGINS_S + 60 * DAY_S, BEGINS_S + 79 * DAY_S)
    outcome = is_free(clockwork, at_s + 3600)
    without = predict(model, history, at_s, (60,))[:, 0]
    leaning = SiteLeaning(model, history, BEGINS_S, BEGINS_S + 79 * DAY_S)
    with_it = predict(model, history, at_s, (60,), leaning)[:, 0]
    assert ((with_it - outcome) ** 2).mean() < 0.9 * ((without - outcome) ** 2).mean()


def test_a_saved_model_says_the_same(model: SiteModel, sites: list[SiteHistory], tmp_path: Path) -> None:
    save(model, tmp_path / "model.npz")
    again = load(tmp_path / "model.npz")
    at_s = sample_times(sites[0].events, BEGINS_S + 90 * DAY_S, BEGINS_S + 92 * DAY_S)
    assert np.array_equal(predict(model, sites[0], at_s, (10, 90)), predict(again, sites[0], at_s, (10, 90)))
    assert (again.trained_until_s, again.trained_sites) == (BEGINS_S + 90 * DAY_S, 2)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.npz").write_bytes(b"no model")
    with pytest.raises(UserError, match="no model that can be read"):
        load(tmp_path / "model.npz")
    np.savez(tmp_path / "old.npz", about=np.array('{"version": 0}'))
    with pytest.raises(UserError, match="version 0"):
        load(tmp_path / "old.npz")


def test_nothing_to_learn_from_is_said(sites: list[SiteHistory]) -> None:
    with pytest.raises(UserError, match="nothing to learn from"):
        SiteModel.fit(sites, BEGINS_S)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Los_Angeles", "Asia/Kolkata"])
def test_local_times_are_those_of_the_zone(zone: str) -> None:
    from_s = int(datetime(2024, 10, 20, 5, tzinfo=UTC).timestamp())
    at_s = from_s + np.arange(0, 400 * DAY_S, 977 * 7)
    offsets = [datetime.fromtimestamp(int(at), ZoneInfo(zone)).utcoffset() for at in at_s]
    expected = at_s + np.array([int(offset.total_seconds()) for offset in offsets if offset is not None])
    assert np.array_equal(LocalTime(zone, from_s, int(at_s[-1]))(at_s), expected)

"""`evcharge forecast score`: what it prints, what it refuses, and that it reaches the published floor."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from evcharge.cli.app import app
from evcharge.errors import UserError
from evcharge.forecast.change_events import read_change_events
from evcharge.forecast.floor import SCORED_MINUTES
from evcharge.forecast.published import PAGE, TRUTHS, markdown, publish, published, with_table
from evcharge.forecast.scoring import score_events, score_unseen_sites
from evcharge.settings import PROJECT

HORIZON_KEYS = {
    "minutes",
    "samples",
    "brier",
    "brier_persistence",
    "brier_climatology",
    "brier_skill",
    "ece",
    "brier_full_now",
    "brier_persistence_full_now",
}
#: Skill and calibration error of a plain logistic regression on the four German sites, by minutes.
FLOOR = {10: (0.07, 0.010), 30: (0.17, 0.010), 60: (0.28, 0.011), 120: (0.38, 0.013)}
JULY = datetime(2025, 7, 1, tzinfo=UTC)


def write_events(file: Path, sites: int = 2, days: int = 40, begins: str = "2025-01-01") -> Path:
    """Two points a site; cars come and go at constant rates, all of it from one seed."""
    random = np.random.default_rng(3)
    lines = ["site,observed_at,available,total"]
    for site in range(sites):
        at, free = np.datetime64(begins, "s"), 2
        while at < np.datetime64(begins, "s") + np.timedelta64(days, "D"):
            lines.append(f"site {site},{at}Z,{free},2")
            come, leave = 0.8 * (free > 0), 0.5 * (2 - free)
            at += np.timedelta64(1 + int(random.exponential(3600 / (come + leave))), "s")
            free += -1 if random.random() < come / (come + leave) else 1
    text = "\n".join(lines) + "\n"
    file.write_bytes(gzip.compress(text.encode()) if file.suffix == ".gz" else text.encode())
    return file


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["forecast", "score", *arguments])


@pytest.mark.slow
def test_json_has_every_figure_of_every_horizon(tmp_path: Path) -> None:
    file = write_events(tmp_path / "events.csv.gz")
    done = run(str(file), "--train-until", "2025-01-25", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [horizon["minutes"] for horizon in found["horizons"]] == list(SCORED_MINUTES)
    for horizon in found["horizons"]:
        assert horizon.keys() >= HORIZON_KEYS
        assert horizon["brier"] < horizon["brier_persistence"]
        assert horizon["brier_skill"] == pytest.approx(1 - horizon["brier"] / horizon["brier_persistence"])
    assert (found["trained_sites"], found["tested_sites"], found["unseen_sites"]) == (2, ["site 0", "site 1"], [])
    # the same again: nothing is drawn
    assert json.loads(run(str(file), "--train-until", "2025-01-25", "--json").stdout) == found


@pytest.mark.slow
def test_the_table_and_its_markdown_name_the_horizons(tmp_path: Path) -> None:
    file = write_events(tmp_path / "events.csv", sites=1, days=20)
    file.write_text(file.read_text() + "site 0,never,1,2\n")
    done = run(str(file), "--train-until", "2025-01-15")
    assert done.exit_code == 0, done.output
    assert "120 min" in done.stdout
    assert "1 of " in done.stderr
    assert "'never' is no ISO time" in done.stderr
    assert "| 120 min |" in run(str(file), "--train-until", "2025-01-15", "--markdown").stdout


def test_a_site_that_begins_after_the_date_is_forecast_and_named_as_unseen(tmp_path: Path) -> None:
    early = read_change_events(write_events(tmp_path / "early.csv", 1, 12, "2025-01-01")).sites
    late = read_change_events(write_events(tmp_path / "late.csv", 1, 8, "2025-01-12")).sites
    late = (type(late[0])("late", "UTC", late[0].at_s, late[0].available, late[0].total),)
    report = score_events((*early, *late), datetime(2025, 1, 11, tzinfo=UTC))
    assert report.unseen_sites == ("late",)
    assert all(0 < horizon.brier < 1 for horizon in report.horizons)


@pytest.mark.slow
def test_sites_can_be_scored_by_models_that_never_saw_them(tmp_path: Path) -> None:
    sites = read_change_events(write_events(tmp_path / "events.csv", 2, 20)).sites
    report = score_unseen_sites(sites, datetime(2025, 1, 15, tzinfo=UTC))
    assert report.unseen_sites == ("site 0", "site 1")
    assert report.trained_sites == 1
    with pytest.raises(UserError, match="nothing to learn from"):
        score_unseen_sites(sites[:1], datetime(2025, 1, 15, tzinfo=UTC))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--train-until", "2024-01-01"), "nothing to learn from before 2024-01-01: the changes are from 2025-01-01"),
        (("--train-until", "2026-01-01"), "nothing to score from 2026-01-01 on: the changes are from 2025-01-01"),
        (("--train-until", "soon"), "--train-until 'soon' is no date"),
        (("--train-until", "2025-01-05", "--time-zone", "Mars/Olympus"), "no time zone is called 'Mars/Olympus'"),
    ],
)
def test_what_cannot_be_scored_is_said_in_one_line(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    done = run(str(write_events(tmp_path / "events.csv", 1, 8)), *arguments)
    assert isinstance(done.exception, UserError)
    assert says in str(done.exception)
    assert "\n" not in str(done.exception)


def test_a_table_is_written_between_its_marks(tmp_path: Path) -> None:
    page, file = tmp_path / "page.md", tmp_path / "score.json"
    page.write_text("before\n<!-- recordings:begin -->\nold\n<!-- recordings:end -->\nafter\n")
    horizon = dict.fromkeys(HORIZON_KEYS, 0.123456789) | {"minutes": 10, "samples": 4321, "brier_full_now": None}
    publish("recordings", {"horizons": [horizon]}, "the command", file=file, page=page)
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| 10 min | 4,321 | 0.1235 |" in text
    assert json.loads(file.read_text())["recordings"]["horizons"][0]["brier"] == 0.123457
    with pytest.raises(UserError, match="no marks"):
        publish("simulation", {"horizons": [horizon]}, "the command", file=file, page=page)
    with pytest.raises(UserError, match="clone of the repository"):
        publish("recordings", {"horizons": [horizon]}, "the command", file=file, page=tmp_path / "none.md")


def test_the_page_shows_the_published_scores() -> None:
    text, scores = PAGE.read_text(), published()
    assert scores
    assert scores.keys() <= set(TRUTHS)
    for truth in TRUTHS:
        if truth in scores:
            assert with_table(text, truth, scores[truth]) == text
            assert markdown(scores[truth]) in text


@pytest.mark.slow
def test_the_floor_is_reached_on_real_recordings() -> None:
    file = PROJECT.parent / "shared" / "data" / "availability" / "availability_de_2023_2025.csv.gz"
    if not file.exists():
        pytest.skip(f"the recordings of four German sites are not at {file}")
    report = score_events(read_change_events(file, "Europe/Berlin").sites, JULY)
    figures = {score.minutes: (score.brier_skill, score.ece) for score in report.horizons}
    print(*report.horizons, sep="\n")
    assert {minutes: skill > FLOOR[minutes][0] for minutes, (skill, _) in figures.items() if skill} == dict.fromkeys(
        SCORED_MINUTES, True
    )
    assert {minutes: ece < FLOOR[minutes][1] for minutes, (_, ece) in figures.items()} == dict.fromkeys(
        SCORED_MINUTES, True
    )
    for score in report.horizons:
        assert score.brier_full_now is not None
        assert score.brier_persistence_full_now is not None
        assert score.brier_full_now < score.brier_persistence_full_now

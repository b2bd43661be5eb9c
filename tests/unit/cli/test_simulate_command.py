"""`evcharge simulate` beside the platform: figures, files, another process, wrong input."""

import gzip
import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from evcharge.cli.app import app
from evcharge.simulated.offline_run import SESSIONS, Scenario
from simulation import Simulation
from simulation.profile import shipped

SMALL = ["--stations", "40", "--vehicles", "400", "--days", "2"]
EXAMPLES = Path(__file__).parents[3] / "examples"


def simulate(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["simulate", *arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return simulate(*SMALL)


def test_the_figures_are_those_that_people_ask_for(told: dict[str, Any]) -> None:
    assert {"sessions", "events", "wall_s", "events_per_s", "peak_memory_mb", "ledger_hash"} <= told.keys()
    assert told["sessions"] > 300
    assert told["events"] > 3 * told["sessions"]
    assert told["visits"] >= told["sessions"]


def test_equal_seeds_give_equal_ledgers_and_others_others(told: dict[str, Any]) -> None:
    assert simulate(*SMALL)["ledger_hash"] == told["ledger_hash"]
    assert simulate(*SMALL, "--seed", "8")["ledger_hash"] != told["ledger_hash"]


@pytest.mark.slow
def test_going_on_in_another_process_writes_the_same(told: dict[str, Any], tmp_path: Path) -> None:
    whole = simulate(*SMALL, "--out", str(tmp_path / "whole"))
    parts = simulate(*SMALL, "--out", str(tmp_path / "parts"), "--resume-at", "31.5h")
    assert whole["ledger_hash"] == parts["ledger_hash"] == told["ledger_hash"]
    sessions = [pq.read_table(tmp_path / name / "sessions.parquet") for name in ("whole", "parts")]
    assert sessions[0].equals(sessions[1])
    assert sessions[0].schema.equals(SESSIONS)
    assert len(sessions[0]) == told["sessions"]
    events = [pq.read_table(tmp_path / name / "events").sort_by("event_id") for name in ("whole", "parts")]
    assert events[0].equals(events[1])
    assert len(events[0]) == told["events"]
    ledger = json.loads((tmp_path / "whole" / "ledger.json").read_text())
    assert ledger["events_by_type"] == Counter(events[0]["event_type"].to_pylist())


def test_the_saved_state_is_one_to_go_on_from(tmp_path: Path) -> None:
    first = simulate(*SMALL, "--out", str(tmp_path))
    state = json.loads(gzip.decompress((tmp_path / "state.json.gz").read_bytes()))
    scenario = Scenario(7, 40, 400)
    simulation = scenario.resume(state["simulation"])
    simulation.advance(scenario.begins_at + timedelta(days=3))
    assert isinstance(simulation, Simulation)
    assert simulation.totals.ledger_hash == simulate(*SMALL[:-1], "3")["ledger_hash"] != first["ledger_hash"]


def test_local_hours_and_stays_are_those_of_the_site(tmp_path: Path) -> None:
    simulate("--profile", "campus", "--days", "28", "--out", str(tmp_path))
    sessions = pq.read_table(tmp_path / "sessions.parquet")
    hours = sessions["local_start_hour"].to_numpy()
    # half of Caltech's starts, weekends included, fall between seven and eleven
    assert 0.4 < ((hours >= 7) & (hours < 11)).mean() < 0.65
    started, ended = (sessions[name].cast("int64").to_numpy() for name in ("started_at", "ended_at"))
    assert sessions["stay_h"].to_numpy() == pytest.approx((ended - started) / 3_600_000)
    assert set(sessions["time_zone"].to_pylist()) == {"America/Los_Angeles"}


def test_dirt_is_told_line_by_line(tmp_path: Path) -> None:
    told = simulate(*SMALL, "--dirty", "duplicate=0.05,malformed=0.01", "--out", str(tmp_path))
    lines = pq.read_table(tmp_path / "injected")
    assert Counter(lines["fault"].to_pylist()) == told["injected"]
    assert told["injected"].keys() == {"duplicate", "malformed"}
    messages = pq.read_table(tmp_path / "messages")
    # copies that are due after the end are not delivered yet
    assert told["events"] < len(messages) <= told["events"] * 1.1
    clean = simulate(*SMALL)
    assert clean["ledger_hash"] == told["ledger_hash"]


@pytest.mark.slow
def test_stations_of_a_registry_are_simulated() -> None:
    told = simulate("--registry", str(EXAMPLES / "registry-synthetic.csv"), "--stations", "60", "--days", "1")
    assert told["stations"] == 60
    assert told["sessions"] > 50


@pytest.mark.slow
def test_a_report_shows_the_site_beside_recorded_sessions(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    simulate(
        "--profile", "dc_fast", "--days", "60", "--report", str(page), "--compare", str(EXAMPLES / "sessions-epfl.csv")
    )
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_a_profile_that_is_not_one_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    told = shipped("campus").to_json()
    broken.write_text(json.dumps({**told, "evses": 0}))
    for name, reason in (("nowhere.json", "shipped profiles: campus"), (str(broken), "evses: 0 is impossible")):
        result = CliRunner().invoke(app, ["simulate", "--profile", name])
        assert result.exit_code == 1
        assert reason in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--resume-at", "9d", "--days", "2"], "must lie within"),
        (["--resume-at", "soon"], "not a time such as 84h"),
        (["--dirty", "lat=1"], "is no fault"),
        (["--start", "yesterday"], "not a day such as"),
        (["--compare", "x.csv"], "--report as well"),
        (["--power-kw", "11"], "--profile"),
        (["--profile", "campus", "--registry", "x.csv"], "one of --profile and --registry"),
        (["--stations", "0"], "greater than or equal to 1"),
        (["--registry", "nowhere.csv"], "nowhere.csv: No such file"),
    ],
)
def test_wrong_input_is_said_in_words(arguments: list[str], reason: str) -> None:
    result = CliRunner().invoke(app, ["simulate", *arguments], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert result.exit_code != 0
    assert reason in f"{result.output} {result.exception}"

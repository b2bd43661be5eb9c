"""Replaying a file: stations first, everything acknowledged, the same ids each time."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from fake_kafka import FakePublisher
from typer.testing import CliRunner

from evcharge.cli import recorded
from evcharge.cli.app import app, main
from evcharge.feeds.sent_ledger import ledger_totals, read_sent
from evcharge.recorded import replay as replaying
from evcharge.recorded.readers import read_sessions
from evcharge.recorded.replay import replay
from evcharge.recorded.taken_ids import TakenIds
from evcharge.settings import PROJECT, Settings

EXAMPLE = PROJECT / "examples" / "sessions-generic.csv"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SITE = ("--site-id", "x", "--site-latitude", "47", "--site-longitude", "7", "--site-time-zone", "Europe/Zurich")


def test_replay_publishes_stations_then_sessions_in_chunks(
    settings: Settings, kafka: FakePublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "CHUNK_SESSIONS", 7)
    done: list[int] = []
    report = replay(settings, read_sessions(EXAMPLE), publisher=kafka, now=NOW, on_progress=done.append)
    assert [topic for topic, _ in kafka.messages] == ["station-registry"] * 2 + ["session-events"] * 60
    assert done == [7, 7, 7, 7, 2]
    # the fake publisher has one offset for both topics
    assert report.topic_offsets == {"station-registry": {0: 2}, "session-events": {0: 62}}
    assert (min(report.ended_on).isoformat(), max(report.ended_on).isoformat()) == ("2025-05-05", "2025-05-10")
    totals = ledger_totals(read_sent(settings, report.feed))
    assert (totals.messages, totals.sessions, totals.energy_wh) == (62, 30, 696_809)
    assert report.energy_delivered_kwh == 696.809


def test_a_second_replay_sends_the_same_events_into_the_same_ledger(settings: Settings, kafka: FakePublisher) -> None:
    first = replay(settings, read_sessions(EXAMPLE), publisher=kafka, now=NOW)
    before = read_sent(settings)
    second = replay(settings, read_sessions(EXAMPLE), publisher=kafka, now=NOW)
    sent = [value for topic, value in kafka.messages if topic == "session-events"]
    assert sent[:60] == sent[60:]
    assert first.feed == second.feed
    assert read_sent(settings).equals(before)


def test_a_replay_that_was_cut_off_is_completed_by_the_next(
    settings: Settings, kafka: FakePublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "CHUNK_SESSIONS", 10)

    def cut_off(done: int) -> None:
        kafka.fail_after = ConnectionError("cut off")

    with pytest.raises(ConnectionError):
        replay(settings, read_sessions(EXAMPLE), publisher=kafka, now=NOW, on_progress=cut_off)
    assert ledger_totals(read_sent(settings)).sessions == 10
    kafka.fail_after = None
    replay(settings, read_sessions(EXAMPLE), publisher=kafka, now=NOW)
    assert ledger_totals(read_sent(settings)).sessions == 30


HEADER = "session_id,station_id,evse_id,started_at,ended_at,energy_delivered_kwh\n"
FIRST_SITE = (
    "s1,site-a,1,2025-01-05T08:00:00Z,2025-01-05T09:00:00Z,5\ns2,site-a,1,2025-01-05T10:00:00Z,2025-01-05T11:00:00Z,6\n"
)


def test_ids_that_were_sent_before_are_counted_by_what_becomes_of_them(
    settings: Settings, kafka: FakePublisher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def send(name: str, rows: str) -> TakenIds:
        file = tmp_path / f"{name}.csv"
        file.write_text(HEADER + rows)
        report = replay(settings, read_sessions(file), publisher=kafka, now=NOW)
        recorded._print_taken(report.taken)
        assert report.to_json()["taken_ids"] == asdict(report.taken)
        return report.taken

    assert send("a", FIRST_SITE) == TakenIds()
    # the same file, and the same sessions in another one
    assert send("a", FIRST_SITE) == send("copy", FIRST_SITE + "\n") == TakenIds()
    assert capsys.readouterr().out == ""
    assert send("b", FIRST_SITE.replace("site-a", "site-b")) == TakenIds(at_other_stations=2)
    assert "2 session ids are used at other stations too" in capsys.readouterr().out
    assert send("c", FIRST_SITE.replace(",6\n", ",7\n")) == TakenIds(at_other_stations=2, with_other_values=1)
    assert "1 sessions were sent before with another end or energy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent.csv"], "evcharge: absent.csv: No such file"),
        ([str(EXAMPLE), "--site-id", "x"], "a site needs --site-id"),
        ([str(EXAMPLE), *SITE, "--site-name", "n" * 600], "TEXT_TOO_LONG"),
        ([str(PROJECT / "LICENSE")], "row 1: column 'Apache License'"),
        (
            [str(EXAMPLE), "--columns", "started_at=started_at,ended_at=ended_at,energy_kwh=energy_delivered_kwh"],
            "a replay needs the sessions' place: --site-id",
        ),
        (["--strict", str(EXAMPLE.with_name("sessions-generic-dirty.csv"))], "row 3: column 'ended_at'"),
    ],
)
def test_command_ends_in_one_line(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["evcharge", "replay", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (1, 2)
    assert said in capsys.readouterr().err


def test_the_command_replays_a_table_at_a_site(
    settings: Settings, kafka: FakePublisher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EVCHARGE_HOME", str(settings.home))
    monkeypatch.setattr(replaying, "KafkaPublisher", lambda _: kafka)
    path = tmp_path / "sessions.csv"
    path.write_text('started, ended, wh\n2024-01-01 08:00, 2024-01-01 09:00, "12,345"\n2024-01-01 08:00, x, 5\n')
    columns = "started_at=started,ended_at=ended,energy_wh=wh"
    result = CliRunner().invoke(app, ["replay", str(path), "--columns", columns, *SITE, "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["stations"], report["sessions"], report["energy_delivered_kwh"]) == (1, 1, 12.345)
    assert report["rejected_details"]["UNPARSABLE_TIME"].startswith(
        "row 3: column 'ended': UNPARSABLE_TIME ('x' is not"
    )
    registered, started, stopped = (orjson.loads(value) for _, value in kafka.messages)
    assert (registered["station_id"], registered["time_zone"]) == ("x", "Europe/Zurich")
    assert (started["occurred_at"], stopped["evse_id"]) == ("2024-01-01T07:00:00.000Z", "1")

    # a table whose stations have no place sends none of them
    path.write_text("from,h,kWh,lot\n2024-01-01T08:00Z,1,5,Lot 1\n")
    columns = "started_at=from,duration_h=h,energy_kwh=kWh,station_id=lot"
    result = CliRunner().invoke(app, ["replay", str(path), "--columns", columns, "--time-zone", "Europe/Zurich"])
    assert "published 1 sessions of 0 stations" in result.output
    path.write_text("from,h,kWh,lot\n07.11.2024 08:00,1,5,Lot 1\n")
    result = CliRunner().invoke(app, ["replay", str(path), "--columns", columns])
    assert "row 2: column 'from': UNPARSABLE_TIME" in str(result.exception)
    assert "no session is left" in str(result.exception)

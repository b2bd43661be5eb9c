"""`evcharge reconcile` says equal only when every store agrees; `trace` and `lake` show a session's way through the stores."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support import NOON, RUN, Lake, Record, changed, evcharge, meter, parquet, record, send, station, stopped
from typer.testing import CliRunner

from evcharge.cli.app import app
from evcharge.contracts import SESSION_EVENTS
from evcharge.feeds import sent_ledger as producers
from evcharge.feeds.producer import KafkaPublisher
from evcharge.lake.archive import discard_branch, merge_candidate
from evcharge.lake.candidate import write_candidate
from evcharge.lake.layout import raw_prefix
from evcharge.lake.ledger import read_ledger
from evcharge.lake.publish import free_attempt
from evcharge.recorded.readers import read_sessions
from evcharge.recorded.replay import replay
from evcharge.recorded.taken_ids import TakenIds
from evcharge.settings import Settings, load_settings
from evcharge.stack.servers import bootstrap
from evcharge.warehouse.tables import FACT

MARK = token_hex(3)
#: Another station and another hour for each session, so that a difference has one name.
STATIONS = [f"reconcile-{MARK}-{n}" for n in range(4)]
SESSIONS = [f"reconciled-{MARK}-{n}" for n in range(4)]
ENDED = [NOON + timedelta(days=100, hours=n) for n in range(4)]
DAY = ENDED[0].date()
#: No producer's ledger knows of it.
STRANGE = f"reconcile-{MARK}-strange"
FEED = f"test-reconcile-{MARK}"


def hour(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H}:00Z"


@pytest.fixture(scope="module", autouse=True)
def _sessions(lake: Lake) -> None:
    """Four sessions that a producer's ledger knows, one of them queued since the day before, and one still running."""
    lake.register(*(station(name) for name in (*STATIONS, STRANGE)))
    events = []
    for name, session, ended_at in zip(STATIONS, SESSIONS, ENDED, strict=True):
        started_at = ended_at - timedelta(hours=1)
        events += [
            meter(session, name, 0, event_type="queued", occurred_at=started_at, evse_id=None),
            meter(session, name, 1, event_type="started", occurred_at=started_at),
            stopped(session, name, ended_at, sequence=2, event_id=f"{session}-2"),
        ]
    queued_at = ENDED[3] - timedelta(hours=20)
    events[-3] |= {"occurred_at": queued_at}
    events[-1] |= {"queue_wait_s": 19 * 3600.0}
    events.append(meter(f"running-{MARK}", STATIONS[0], occurred_at=NOON))
    with KafkaPublisher(lake.settings) as publisher:
        producers.publish_chunk(lake.settings, publisher, FEED, "000000", SESSION_EVENTS, events)
    # what no ledger knows: odd, but nothing that a rule forbids
    surrogate = record(SESSION_EVENTS, meter(f"odd-{MARK}", STRANGE, ev_id="HALF"))
    odd = [
        Record(surrogate.key, (surrogate.value or b"").replace(b"HALF", b"\\ud83d")),
        changed(SESSION_EVENTS, meter(f"odd-{MARK}", STRANGE, 1), occurred_at=1_736_942_400),
        changed(SESSION_EVENTS, meter(f"odd-{MARK}", STRANGE, 2), occurred_at="2025-01-15T09:30:00.999999+09:30"),
        record(SESSION_EVENTS, stopped(f"odd-{MARK}-half", STRANGE, NOON, energy_delivered_kwh=12.3445)),
        record(SESSION_EVENTS, stopped(f"odd-{MARK}-more", STRANGE, NOON, energy_delivered_kwh=12.3455)),
    ]
    lake.publish_waiting()
    send(lake.settings, SESSION_EVENTS.topic, odd)
    assert lake.publish(lake.plan()).manifest.rows_quarantined == 0
    lake.publish_waiting()
    lake.load_waiting()


@pytest.fixture(autouse=True)
def without_live_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """No stream runs here; test_reconcile_live.py compares what it writes."""
    monkeypatch.setenv("EVCHARGE_PROFILE", "small")


def reconcile() -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of `evcharge reconcile --json`."""
    done = CliRunner().invoke(app, ["reconcile", "--json"])
    assert done.exit_code in (0, 1, 2), done.exception
    return done.exit_code, json.loads(done.stdout)


def named(verdict: dict[str, Any]) -> set[tuple[str, str, str, str]]:
    return {(d["store"], d["against"], d["station_id"], d["hour"]) for d in verdict["differences"]}


@pytest.fixture
def healthy(lake: Lake) -> dict[str, Any]:
    """The verdict on equal stores. It also proves that the test before restored what it changed."""
    lake.publish_waiting()
    lake.load_waiting()
    code, verdict = reconcile()
    assert (code, verdict["differences"]) == (0, [])
    return verdict


# once test_retention.py has run, Kafka holds fewer events than the producers sent
@pytest.mark.new_platform
def test_equal_stores(lake: Lake, healthy: dict[str, Any]) -> None:
    assert (healthy["equal"], healthy["empty"], healthy["difference_count"]) == (True, False, 0)
    assert healthy["days_behind"] == []
    stores = healthy["stores"]
    assert set(stores) == {"producers", "kafka", "lake", "clickhouse"}
    assert stores["kafka"]["events"] >= stores["producers"]["events"] >= 13
    facts, energy = lake.query(f"SELECT count(), sum(energy_delivered_kwh) FROM {FACT}")[0]
    assert (stores["clickhouse"]["sessions"], stores["clickhouse"]["energy_wh"]) == (facts, energy * 1000)
    ledger = read_ledger(lake.repository, SESSION_EVENTS.topic)
    assert healthy["cut"] == {str(p): o for p, o in sorted(ledger.offsets.items())}


@pytest.mark.parametrize("options", [[], ["--since", "0001-01-01"]], ids=["all", "since the beginning"])
def test_the_table_for_people(healthy: dict[str, Any], options: list[str]) -> None:
    done = CliRunner().invoke(app, ["reconcile", *options])
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "equal"
    assert f"{healthy['stores']['lake']['events']:,}" in done.stdout


def rewrite(lake: Lake, session: str, change: Callable[[pa.Table], pa.Table]) -> Callable[[], None]:
    """Publishes a change of the raw file that holds the session's end. A call of the result restores the file."""
    prefix = raw_prefix(SESSION_EVENTS.topic, DAY.isoformat())
    for path in lake.repository.paths("main", prefix):
        content = lake.repository.read("main", path)
        assert content is not None
        rows = pq.read_table(pa.BufferReader(content))
        if session in rows["session_id"].to_pylist():
            break
    else:
        raise AssertionError(f"{session} is in no file below {prefix}")
    altered = parquet(change(rows))
    lake.craft(f"craft-{token_hex(4)}", lambda branch: lake.write(branch, path, altered))
    return lambda: _put(lake, path, content)


def _put(lake: Lake, path: str, content: bytes) -> None:
    lake.craft(f"craft-{token_hex(4)}", lambda branch: lake.write(branch, path, content))


def test_a_row_removed_from_the_lake(lake: Lake, healthy: dict[str, Any]) -> None:
    put_back = rewrite(lake, SESSIONS[1], lambda rows: rows.filter(pc.field("event_id") != f"{SESSIONS[1]}-2"))
    code, verdict = reconcile()
    assert (code, verdict["equal"], verdict["difference_count"]) == (1, False, 2)
    place = (STATIONS[1], hour(ENDED[1]))
    # the lake lacks what Kafka has, so ClickHouse has more than the lake
    assert named(verdict) == {("lake", "kafka", *place), ("clickhouse", "lake", *place)}
    assert verdict["differences"][0]["found"] is None
    assert verdict["differences"][0]["expected"]["energy_wh"] == 7000
    put_back()


def test_an_energy_altered_in_the_lake(lake: Lake, healthy: dict[str, Any]) -> None:
    def more(rows: pa.Table) -> pa.Table:
        index = rows.schema.get_field_index("energy_delivered_kwh")
        energies = pc.if_else(pc.equal(rows["event_id"], f"{SESSIONS[2]}-2"), 7.001, rows["energy_delivered_kwh"])
        return rows.set_column(index, rows.schema.field(index), energies)

    put_back = rewrite(lake, SESSIONS[2], more)
    code, verdict = reconcile()
    assert code == 1
    assert ("lake", "kafka", STATIONS[2], hour(ENDED[2])) in named(verdict)
    (difference,) = (d for d in verdict["differences"] if d["store"] == "lake")
    assert [difference[side]["energy_wh"] for side in ("expected", "found")] == [7000, 7001]
    put_back()


def test_a_row_deleted_in_clickhouse(lake: Lake, healthy: dict[str, Any]) -> None:
    lake.query(f"ALTER TABLE {FACT} DELETE WHERE session_id = '{SESSIONS[0]}' SETTINGS mutations_sync = 2")
    code, verdict = reconcile()
    assert code == 1
    assert named(verdict) == {("clickhouse", "lake", STATIONS[0], hour(ENDED[0]))}
    lake.load([DAY], in_full=True)


def test_an_energy_altered_in_clickhouse(lake: Lake, healthy: dict[str, Any]) -> None:
    lake.query(
        f"ALTER TABLE {FACT} UPDATE energy_delivered_kwh = energy_delivered_kwh + toDecimal64(0.001, 3) "
        f"WHERE session_id = '{SESSIONS[3]}' SETTINGS mutations_sync = 2"
    )
    code, verdict = reconcile()
    assert code == 1
    assert named(verdict) == {("clickhouse", "lake", STATIONS[3], hour(ENDED[3]))}
    text = CliRunner().invoke(app, ["reconcile"])
    assert text.exit_code == 1
    assert f"clickhouse against lake: station {STATIONS[3]}, hour {hour(ENDED[3])}" in text.stdout
    assert text.stdout.splitlines()[-1] == "NOT EQUAL"
    lake.load([DAY], in_full=True)


def test_a_row_twice_in_clickhouse(lake: Lake, healthy: dict[str, Any]) -> None:
    lake.query(f"INSERT INTO {FACT} SELECT * FROM {FACT} WHERE session_id = '{SESSIONS[2]}'")
    code, verdict = reconcile()
    assert code == 1
    assert named(verdict) == {("clickhouse", "lake", STATIONS[2], hour(ENDED[2]))}
    lake.load([DAY], in_full=True)


def test_an_acknowledged_event_that_kafka_does_not_have(lake: Lake, healthy: dict[str, Any]) -> None:
    rows = producers.read_sent(lake.settings, FEED).slice(0, 1)
    index = rows.schema.get_field_index("event_id")
    chunk = producers.write_chunk(
        lake.settings, f"lost-{MARK}", "000000", rows.set_column(index, "event_id", pa.array([f"lost-{MARK}-0"]))
    )
    at = rows["occurred_at"][0].as_py()
    code, verdict = reconcile()
    assert code == 1
    assert named(verdict) == {("kafka", "producers", rows["station_id"][0].as_py(), hour(at))}
    chunk.unlink()


def test_a_second_producer_at_our_stations_is_no_difference(lake: Lake, healthy: dict[str, Any]) -> None:
    """Its ledger is on another machine, or it has none. It also sends an event of ours again, with other values."""
    theirs = [
        meter(f"theirs-{MARK}", STATIONS[0], 0, event_type="started", occurred_at=ENDED[0]),
        stopped(f"theirs-{MARK}", STATIONS[0], ENDED[0]),
        stopped(SESSIONS[1], STATIONS[1], ENDED[2], sequence=2, event_id=f"{SESSIONS[1]}-2", energy_delivered_kwh=9.9),
    ]
    lake.publish(lake.send_events(theirs))
    lake.load_waiting()
    code, verdict = reconcile()
    assert (code, verdict["differences"]) == (0, [])
    assert verdict["other_producers"] == healthy["other_producers"] + 2
    said = f"not ours: {verdict['other_producers']:,} events of other producers"
    assert said in CliRunner().invoke(app, ["reconcile"]).stdout


def test_sites_with_the_same_ids_and_a_site_in_two_files_are_equal(
    lake: Lake, healthy: dict[str, Any], tmp_path: Path
) -> None:
    first, second = (f"site-{name}-{MARK}" for name in "ab")
    header = (
        "session_id,station_id,evse_id,started_at,ended_at,energy_delivered_kwh,latitude,longitude,time_zone,power_kw"
    )

    def replayed(name: str, site: str, *rows: tuple[str, datetime, float]) -> TakenIds:
        lines = [
            f"{session}-{MARK},{site},E1,{ended_at - timedelta(minutes=30):%FT%TZ},{ended_at:%FT%TZ},{kwh},34.1,-118.1,UTC,7"
            for session, ended_at, kwh in rows
        ]
        path = tmp_path / f"{name}.csv"
        path.write_text("\n".join([header, *lines]))
        return replay(lake.settings, read_sessions(path)).taken

    days = [ENDED[0] + timedelta(days=n) for n in (0, 1, 31)]
    assert replayed("a", first, ("s1", days[0], 1), ("s2", days[1], 2)) == TakenIds()
    assert replayed("b", second, ("s1", days[0], 3), ("s2", days[2], 4)) == TakenIds(at_other_stations=2)
    corrected = replayed("a-corrected", first, ("s1", days[1], 5), ("s2", days[1], 2), ("s3", days[2], 6))
    assert corrected == TakenIds(at_other_stations=2, with_other_values=1)
    lake.publish_waiting()
    lake.load_waiting()
    code, verdict = reconcile()
    assert (code, verdict["differences"]) == (0, [])
    facts = lake.query(
        f"SELECT station_id, session_id, ended_at, toUInt8(energy_delivered_kwh) FROM {FACT} "
        "WHERE station_id IN %(sites)s ORDER BY station_id, session_id",
        sites=[first, second],
    )
    assert facts == [
        (first, f"s1-{MARK}", days[0], 1),
        (first, f"s2-{MARK}", days[1], 2),
        (first, f"s3-{MARK}", days[2], 6),
        (second, f"s1-{MARK}", days[0], 3),
        (second, f"s2-{MARK}", days[2], 4),
    ]
    both = evcharge("trace", f"s1-{MARK}")
    assert (both.returncode, len(both.stderr.splitlines())) == (1, 1)
    assert f"several stations have a session s1-{MARK}: {first}, {second}." in both.stderr
    found = json.loads(evcharge("trace", f"s1-{MARK}", "--station", first, "--json").stdout)
    assert (found["station_id"], found["fact"]["station_id"]) == (first, first)
    # with the end that does not count, of another day
    assert [event["event_type"] for event in found["events"]] == ["started", "started", "stopped", "stopped"]


def test_a_quarantined_row_that_the_lake_lost(lake: Lake, healthy: dict[str, Any]) -> None:
    """It is in neither part of the lake and cannot be read. Its key and the hour in which it was sent name it."""
    planned = lake.send([record(SESSION_EVENTS, meter("q", STRANGE))._replace(value=b"{ no JSON")])
    manifest = lake.publish(planned).manifest
    (path,) = manifest.files
    content = lake.repository.read("main", path)
    assert content is not None
    lake.craft(f"craft-{token_hex(4)}", lambda branch: lake.delete(branch, path))
    code, verdict = reconcile()
    assert code == 1
    assert [(d["store"], d["against"], d["station_id"]) for d in verdict["differences"]] == [("lake", "kafka", STRANGE)]
    _put(lake, path, content)


def test_a_day_that_waits_for_its_load_is_no_difference(lake: Lake, healthy: dict[str, Any]) -> None:
    lake.publish(lake.send_events([stopped(f"waiting-{token_hex(3)}", STRANGE, ENDED[0])]))
    code, verdict = reconcile()
    assert (code, verdict["days_behind"]) == (0, [DAY.isoformat()])


def test_an_empty_platform(platform: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new lake and a new warehouse, without a publication."""
    name = f"empty{MARK}"
    monkeypatch.setenv("EVCHARGE_LAKE_REPOSITORY", name)
    monkeypatch.setenv("EVCHARGE_LAKE_BUCKET", name)
    monkeypatch.setenv("EVCHARGE_CLICKHOUSE_DATABASE", name)
    settings = load_settings()
    bootstrap(settings, ("minio", "lakefs", "clickhouse"))
    try:
        code, verdict = reconcile()
        assert (code, verdict["empty"], verdict["equal"]) == (2, True, True)
        assert verdict["stores"]["lake"]["events"] == 0
        done = CliRunner().invoke(app, ["reconcile"])
        assert (done.exit_code, done.stdout.splitlines()[-1]) == (2, "nothing to compare")
    finally:
        Lake(platform).query(f"DROP DATABASE {name}")


def test_trace_of_a_finished_session(lake: Lake, healthy: dict[str, Any]) -> None:
    """It includes the arrival in the queue, the day before the start."""
    done = CliRunner().invoke(app, ["trace", SESSIONS[3], "--json"])
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    assert found["session_id"] == SESSIONS[3]
    assert [event["event_type"] for event in found["events"]] == ["queued", "started", "stopped"]
    known = {row["event_id"]: row for row in producers.read_sent(lake.settings, FEED).to_pylist()}
    for event in found["events"]:
        sent = known[f"{SESSIONS[3]}-{event['sequence']}"]
        assert (event["kafka_partition"], event["kafka_offset"]) == (sent["partition"], sent["offset"])
    (publication,) = found["publications"]
    assert {event["publication_id"] for event in found["events"]} == {publication["publication_id"]}
    commit = lake.repository.commit_of(publication["lake_commit"])
    assert commit.metadata["publication_id"] == publication["publication_id"]
    assert publication["run_id"] == RUN.run_id
    assert publication["branch"].startswith("ingest-session-events-")
    fact = found["fact"]
    assert (fact["session_id"], float(fact["energy_delivered_kwh"]), fact["station_id"]) == (
        SESSIONS[3],
        7.0,
        STATIONS[3],
    )
    text = CliRunner().invoke(app, ["trace", SESSIONS[3]]).stdout
    for shown in (publication["lake_commit"], publication["branch"], f"/runs/{RUN.run_id}", "stopped", "7.000 kWh"):
        assert shown in text


def test_trace_of_a_session_that_still_runs(healthy: dict[str, Any]) -> None:
    done = CliRunner().invoke(app, ["trace", f"running-{MARK}"])
    assert done.exit_code == 0
    assert "no fact row: the session has not ended" in done.stdout
    found = json.loads(CliRunner().invoke(app, ["trace", f"running-{MARK}", "--json"]).stdout)
    assert (len(found["events"]), len(found["publications"]), found["fact"]) == (1, 1, None)


def test_trace_of_an_unknown_session() -> None:
    done = evcharge("trace", "no-such-session")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "evcharge: no store knows session no-such-session\n"


def test_lake_log_branches_and_diff(lake: Lake) -> None:
    lake.publish_waiting()
    planned = lake.send_events([meter(f"log-{MARK}", STRANGE)])
    manifest, candidate = write_candidate(
        lake.settings, lake.repository, lake.spark, planned, free_attempt(lake.repository, planned), RUN
    )

    def lake_command(*arguments: str) -> Any:
        done = CliRunner().invoke(app, ["lake", *arguments, "--json"])
        assert done.exit_code == 0, done.exception
        return json.loads(done.stdout)

    branches = {row["branch"]: row["commit"] for row in lake_command("branches")}
    assert branches[manifest.branch] == candidate.id
    assert branches["main"] == manifest.base_commit
    files = [*manifest.files, planned.manifest_path]
    assert sorted(row["path"] for row in lake_command("diff", "main", manifest.branch)) == sorted(
        [*files, "_ledger/session-events.json"]
    )
    published = merge_candidate(lake.repository, manifest)
    discard_branch(lake.repository, published)
    assert manifest.branch not in {row["branch"] for row in lake_command("branches")}
    (newest,) = lake_command("log", "--count", "1", "--topic", "session-events")
    assert newest["commit"] == published.merge_commit
    assert (newest["publication_id"], newest["rows_good"]) == (planned.publication_id, "1")
    for arguments in (["log"], ["branches"], ["diff", manifest.base_commit, "main"]):
        done = CliRunner().invoke(app, ["lake", *arguments])
        assert done.exit_code == 0
        assert done.stdout.strip()


def test_lake_diff_of_what_is_not_there() -> None:
    done = evcharge("lake", "diff", "main", "no-such-branch")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith("evcharge: the lake has no main or no no-such-branch")

"""Compaction on a lake in folders: the same rows in fewer files, for every reader, whatever happens beside it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from lake_in_folders import LakeInFolders, install
from small_publications import NOON, candidate, event, parquet, planned, publish, register, registered, rows_at

from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.lake import compaction, maintenance
from evcharge.lake.archive import published_manifest
from evcharge.lake.compaction import HourPlan
from evcharge.lake.gates import GATES
from evcharge.lake.known_stations import known_stations
from evcharge.lake.layout import KNOWN_STATIONS_PATH, is_compacted, raw_prefix
from evcharge.lake.locate import published_in_hour
from evcharge.lake.maintenance import Maintained, MaintainedBesideError, maintain
from evcharge.lake.publish import merge
from evcharge.lake.requeue import _quarantined
from evcharge.lake.rows import archive_dataset
from evcharge.lake.touched_days import event_days
from evcharge.lake.waiting_hours import PATH, Hour
from evcharge.settings import Settings
from evcharge.warehouse import wait
from evcharge.warehouse.pending_loads import _touched

TOPIC = SESSION_EVENTS.topic
LATER = NOON + timedelta(hours=1)
NOW = NOON + timedelta(hours=2)
STEPS = (
    *("branches deleted", "planned", "branch created", "files written", "note written", "committed", "checked"),
    *("merged", "branch deleted"),
)


@pytest.fixture
def lake(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LakeInFolders:
    return install(settings, tmp_path / "lake", monkeypatch)


@pytest.fixture
def busy(lake: LakeInFolders) -> LakeInFolders:
    """Two hours that are over, with late rows and quarantine, and a running one."""
    register(lake, "station-1")
    register(lake, "station-2")
    for number in range(6):
        hour = NOON if number < 4 else LATER
        rows = [event(f"s{number}", n, hour - timedelta(days=n % 2), f"station-{n % 2 + 1}") for n in range(5)]
        publish(lake, rows, hour + timedelta(minutes=number), broken=[b"{", b"["][: number % 3])
    publish(lake, [event("running")], NOW)
    publish(lake, [event("running", 1)], NOW)
    return lake


def maintained(lake: LakeInFolders, **options: object) -> Maintained:
    return maintain(lake.settings, lake, "run", **({"now": NOW} | options))  # type: ignore[arg-type]


def folders(lake: LakeInFolders, prefix: str) -> dict[str, int]:
    """Files by folder on main."""
    found: dict[str, int] = {}
    for path in lake.paths("main", prefix):
        found[path.rpartition("/")[0]] = found.get(path.rpartition("/")[0], 0) + 1
    return found


def test_hours_that_are_over_become_a_file_a_folder_with_the_same_rows(busy: LakeInFolders) -> None:
    before = busy.head().id
    rows = rows_at(busy, before)
    done = maintained(busy)
    assert rows_at(busy, "main") == rows == rows_at(busy, before)
    sizes = {folder.split("/", 2)[2]: files for folder, files in folders(busy, f"raw/{TOPIC}/").items()}
    assert sizes == {
        "event_date=2026-02-28/ingest_hour=2026-03-01-12": 1,
        "event_date=2026-02-28/ingest_hour=2026-03-01-13": 1,
        "event_date=2026-03-01/ingest_hour=2026-03-01-12": 1,
        "event_date=2026-03-01/ingest_hour=2026-03-01-13": 1,
        "event_date=2026-03-01/ingest_hour=2026-03-01-14": 2,
    }
    assert list(folders(busy, f"quarantine/{TOPIC}/").values()) == [1, 1]
    figures = done.figures[TOPIC]
    assert (figures.hours, figures.rows) == (2, 30 + 6)
    # each publication has rows of two dates; four have quarantined messages
    assert (figures.files_before, figures.files_after) == (6 * 2 + 4, 4 + 2)
    assert (figures.manifests_before, figures.manifests_after) == (6, 2)
    assert figures.bytes_before > figures.bytes_after > 0
    assert done.figures[STATION_REGISTRY.topic].files_after == 1
    assert (done.hours_left, done.refused) == (0, {})
    assert [name for name, _ in busy.branches()] == ["main"]


def test_it_announces_nothing(busy: LakeInFolders) -> None:
    done = maintained(busy)
    assert done.commits == [busy.head().id]
    assert event_days(busy.head()) == []
    assert _touched(busy.head()) == []
    assert "publication_id" not in busy.head().metadata
    assert busy.head().metadata["rows"] == "38"


def test_rows_are_sorted_by_station(busy: LakeInFolders) -> None:
    maintained(busy)
    path = next(path for path in busy.paths("main", raw_prefix(TOPIC, "2026-03-01")) if is_compacted(path))
    files = archive_dataset(busy, "main", [path])
    assert files is not None
    rows = files.to_table().to_pylist()
    places = [(row["station_id"], row["kafka_partition"], row["kafka_offset"]) for row in rows]
    assert len(places) == 12
    assert places == sorted(places)


def test_a_second_call_does_nothing_and_reads_no_history(busy: LakeInFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    maintained(busy)
    head = busy.head().id
    looked_at = []

    def plan_hour(settings: Settings, lake: LakeInFolders, commit: str, hour: Hour, **options: bool) -> HourPlan:
        looked_at.append(hour)
        return compaction.plan_hour(settings, lake, commit, hour, **options)

    monkeypatch.setattr(maintenance, "plan_hour", plan_hour)
    again = maintained(busy)
    assert (again.figures, again.commits, busy.head().id) == ({}, [], head)
    # but for the running hour, which may have got more files
    assert {hour.ingest_hour for hour in looked_at} == {"2026-03-01-14"}


def test_the_running_hour_is_compacted_from_a_number_of_files_on(busy: LakeInFolders) -> None:
    maintained(busy)
    rows = rows_at(busy, "main")
    few = busy.settings.model_copy(update={"compact_running_files": 2})
    done = maintain(few, busy, "run", now=NOW)
    assert (done.figures[TOPIC].files_before, done.figures[TOPIC].files_after) == (2, 1)
    assert rows_at(busy, "main") == rows
    # once it is over it is compacted again, with what came later
    publish(busy, [event("running", 2)], NOW)
    done = maintained(busy, now=NOW + timedelta(hours=1))
    assert (done.figures[TOPIC].files_before, done.figures[TOPIC].files_after) == (2, 1)
    assert maintained(busy, now=NOW + timedelta(hours=1)).commits == []


def test_a_publication_that_comes_late_brings_its_hour_back(busy: LakeInFolders) -> None:
    maintained(busy)
    publish(busy, [event("late")], NOON)
    rows = rows_at(busy, "main")
    done = maintained(busy)
    assert (done.figures[TOPIC].hours, done.figures[TOPIC].manifests_before) == (1, 2)
    assert (done.figures[TOPIC].files_before, done.figures[TOPIC].files_after) == (2, 1)
    assert rows_at(busy, "main") == rows


def test_published_hours_are_verified_as_before(busy: LakeInFolders) -> None:
    before = {m.publication_id: m for m in published_in_hour(busy, TOPIC, "2026-03-01-12")}
    maintained(busy)
    found = {m.publication_id: m for m in published_in_hour(busy, TOPIC, "2026-03-01-12")}
    assert found.keys() == before.keys()
    head = busy.head().id
    for publication_id, manifest in found.items():
        assert sum(manifest.files.values()) == manifest.rows_read
        assert any(is_compacted(path) for path in manifest.files)
        verdicts = [g.judge(busy.settings, busy, manifest, head) for g in GATES if g.judged_on_main]
        assert [verdict.message for verdict in verdicts if not verdict.passed] == []
        assert {**manifest.to_json(), "files": 0} == {**before[publication_id].to_json(), "files": 0}


def test_a_gate_counts_the_rows_of_its_own_publication(busy: LakeInFolders) -> None:
    maintained(busy)
    manifest = next(published_in_hour(busy, TOPIC, "2026-03-01-12"))
    (rows_add_up,) = (gate for gate in GATES if gate.rule == "ROWS_ADD_UP")
    path = next(iter(manifest.files))
    manifest.files[path] += 1
    verdict = rows_add_up.judge(busy.settings, busy, manifest, busy.head().id)
    assert verdict.figures["wrong_files"] == [
        f"{path}: {manifest.files[path] - 1} rows instead of {manifest.files[path]}"
    ]


def test_the_manifest_of_a_range_is_found(busy: LakeInFolders) -> None:
    manifest = next(published_in_hour(busy, TOPIC, "2026-03-01-12"))
    maintained(busy)
    assert published_manifest(busy, manifest.offsets).publication_id == manifest.publication_id
    # planned once more in another hour
    later = manifest.offsets.from_json({**manifest.range, "planned_at": NOW.isoformat()})
    assert published_manifest(busy, later).ingest_hour == "2026-03-01-12"


def test_quarantined_messages_are_counted_once(busy: LakeInFolders) -> None:
    rows = rows_at(busy, "main", f"quarantine/{TOPIC}/")
    sent = pa.table(
        {
            "topic": [TOPIC] * len(rows),
            "partition": [row["kafka_partition"] for row in rows],
            "offset": [row["kafka_offset"] for row in rows],
        }
    )
    before = wait.quarantined(busy, sent)
    assert before == {"MALFORMED_JSON": len(rows)}
    maintained(busy)
    assert wait.quarantined(busy, sent) == before


def test_quarantined_rows_can_be_sent_again(busy: LakeInFolders) -> None:
    def waiting() -> list[bytes]:
        batches = _quarantined(busy.settings, busy, TOPIC, "MALFORMED_JSON", busy.head().id, np.empty(0, np.int64))
        return sorted(value for batch in batches for value in batch["kafka_value"].to_pylist())

    before = waiting()
    assert len(before) == 6
    maintained(busy)
    assert waiting() == before


def test_stations_stay_known(busy: LakeInFolders) -> None:
    maintained(busy)
    assert known_stations(busy, busy.head().id) == {"station-1", "station-2"}


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("step", STEPS)
def test_killed_between_two_steps(busy: LakeInFolders, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, rows = busy.head().id, rows_at(busy, "main")

    def kill(done: str) -> None:
        if done == step:
            raise _Killed

    with monkeypatch.context() as killed:
        # a process that is killed cleans nothing up
        if step != "branch deleted":
            killed.setattr(busy, "delete_branch", lambda _: None)
        with pytest.raises(_Killed):
            maintained(busy, on_step=kill)
    is_merged = step in ("merged", "branch deleted")
    assert (busy.head().id != before) == is_merged
    assert rows_at(busy, "main") == rows
    done = maintained(busy)
    assert bool(done.figures) != is_merged
    assert rows_at(busy, "main") == rows
    assert max(folders(busy, f"raw/{TOPIC}/event_date=2026-02-28").values()) == 1
    assert maintained(busy).commits == []


@pytest.mark.parametrize("step", STEPS[1:-2])
def test_a_publication_beside_it(busy: LakeInFolders, step: str) -> None:
    """A late one, of an hour that is being compacted."""
    rows = rows_at(busy, "main")

    def beside(done: str) -> None:
        if done == step:
            publish(busy, [event("beside")], NOON)

    maintained(busy, on_step=beside)
    found = rows_at(busy, "main")
    assert [row for row in found if row.get("session_id") != "beside"] == rows
    assert len(found) == len(rows) + 1
    done = maintained(busy)
    assert done.figures[TOPIC].files_before == 2
    assert rows_at(busy, "main") == found


def test_a_candidate_from_before_it_is_merged_after_it(busy: LakeInFolders) -> None:
    """As a range that was parked and is released."""
    rows = rows_at(busy, "main")
    manifest = candidate(busy, planned(busy, TOPIC, 1, NOON), [event("parked")])
    maintained(busy)
    assert merge(busy, manifest).merged_now
    assert len(rows_at(busy, "main")) == len(rows) + 1
    assert maintained(busy).figures[TOPIC].hours == 1
    assert len(rows_at(busy, "main")) == len(rows) + 1


@pytest.mark.parametrize("step", STEPS[1:-2])
def test_of_two_beside_each_other_one_is_merged(busy: LakeInFolders, step: str) -> None:
    rows = rows_at(busy, "main")

    def beside(done: str) -> None:
        if done == step:
            maintained(busy)

    with pytest.raises(MaintainedBesideError):
        maintained(busy, on_step=beside)
    assert rows_at(busy, "main") == rows
    assert [name for name, _ in busy.branches()] == ["main"]
    assert maintained(busy).figures == {}


def test_rows_that_got_lost_stop_the_merge(busy: LakeInFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    before, rows = busy.head().id, rows_at(busy, "main")
    write = compaction.pq.write_table

    def lossy(table: pa.Table, *given: object, **options: object) -> None:
        bad = table.num_rows == 12 and "session_id" in table.column_names
        write(table.slice(1) if bad else table, *given, **options)

    monkeypatch.setattr(compaction.pq, "write_table", lossy)
    done = maintained(busy)
    ((hour, reason),) = done.refused.items()
    assert (hour.ingest_hour, hour.topic) == ("2026-03-01-12", TOPIC)
    assert "11 rows instead of 12" in reason
    assert rows_at(busy, "main") == rows
    # the other hours are done, and this one is not tried again and again
    assert done.figures[TOPIC].hours == 1
    assert busy.head().id != before
    assert maintained(busy).refused == {}


def test_a_value_that_changed_stops_the_merge(busy: LakeInFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_at(busy, "main")
    write = compaction.pq.write_table

    def wrong(table: pa.Table, *given: object, **options: object) -> None:
        if "session_id" in table.column_names:
            at = table.schema.get_field_index("energy_delivered_kwh")
            values = [table["energy_delivered_kwh"][0].as_py() + 1, *table["energy_delivered_kwh"].to_pylist()[1:]]
            table = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
        write(table, *given, **options)

    monkeypatch.setattr(compaction.pq, "write_table", wrong)
    done = maintained(busy)
    assert {hour.topic for hour in done.refused} == {TOPIC}
    assert len(done.refused) == 2
    assert all("rows of hash" in reason for reason in done.refused.values())
    assert rows_at(busy, "main") == rows


def test_files_of_an_earlier_version_stay(lake: LakeInFolders) -> None:
    first = publish(lake, [event("a")]).manifest
    publish(lake, [event("b")])
    publish(lake, [event("c")])
    (path,) = first.files
    content = lake.read("main", path)
    assert content is not None
    older = compaction.pq.read_table(pa.BufferReader(content)).drop_columns(["reason"])
    lake.create_branch("older")
    lake.write("older", path, parquet(older))
    lake.merge("older", "as an earlier version wrote it", {})
    rows = rows_at(lake, "main")
    done = maintained(lake)
    assert (done.figures[TOPIC].files_before, done.figures[TOPIC].files_after) == (2, 1)
    assert path in lake.paths("main", "raw/")
    assert rows_at(lake, "main") == rows
    manifest = next(m for m in published_in_hour(lake, TOPIC, first.ingest_hour) if m.files == {path: 1})
    assert manifest.publication_id == first.publication_id


def test_a_running_hour_with_files_of_an_earlier_version_only(lake: LakeInFolders) -> None:
    few = lake.settings.model_copy(update={"compact_running_files": 2})
    paths = [next(iter(publish(lake, [event(name)], NOW).manifest.files)) for name in "ab"]
    lake.create_branch("older")
    for path in paths:
        content = lake.read("main", path)
        assert content is not None
        lake.write("older", path, parquet(compaction.pq.read_table(pa.BufferReader(content)).drop_columns(["reason"])))
    lake.merge("older", "as an earlier version wrote them", {})
    for _ in range(2):
        done = maintain(few, lake, "run", now=NOW)
        assert done.figures[TOPIC].files_before == 0
        assert done.refused == {}
    assert sorted(lake.paths("main", "raw/")) == sorted(paths)


def change(lake: LakeInFolders, path: str, content: bytes) -> bytes:
    """Replaces a file on main, and returns what it was."""
    before = lake.read("main", path)
    assert before is not None
    lake.create_branch("changed")
    lake.write("changed", path, content)
    lake.merge("changed", "changed", {})
    lake.delete_branch("changed")
    return before


BROKEN = b"PAR1 this is none PAR1"


def test_a_file_that_the_store_has_lost_holds_up_its_hour_only(busy: LakeInFolders) -> None:
    path, base = next(iter(busy.paths("main", raw_prefix(TOPIC, "2026-02-28")))), busy.head().id

    def lose(step: str) -> None:
        if step == "branch created":
            (busy.root / base / path).unlink(missing_ok=True)

    done = maintained(busy, on_step=lose)
    assert [(hour.ingest_hour, hour.topic) for hour in done.refused] == [("2026-03-01-12", TOPIC)]
    assert done.figures[TOPIC].hours == 1


def test_a_store_that_gives_nothing_refuses_no_hour(busy: LakeInFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    path, base = next(iter(busy.paths("main", raw_prefix(TOPIC, "2026-02-28")))), busy.head().id

    def lose(step: str) -> None:
        if step == "branch created":
            (busy.root / base / path).unlink(missing_ok=True)
            monkeypatch.setattr(busy, "read", lambda ref, path: None)

    with pytest.raises(OSError, match=path):
        maintained(busy, on_step=lose)
    assert busy.head().id == base


def test_a_store_without_room_refuses_no_hour(busy: LakeInFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = busy.head().id
    with monkeypatch.context() as without_room:
        without_room.setattr(compaction, "upload", full)
        with pytest.raises(OSError, match="No space left"):
            maintained(busy)
    assert busy.head().id == before
    assert maintained(busy).refused == {}


def test_a_bad_hour_does_not_hold_up_the_next_call(busy: LakeInFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    change(busy, next(iter(busy.paths("main", raw_prefix(TOPIC, "2026-02-28")))), BROKEN)
    with monkeypatch.context() as hurried:
        _hurry(hurried)
        done = maintained(busy)
        assert [hour.ingest_hour for hour in done.refused] == ["2026-03-01-12"]
        assert done.figures == {}
        done = maintained(busy)
        assert (done.refused, [own.hours for own in done.figures.values()]) == ({}, [1])
    assert maintained(busy).hours_left == 0
    assert maintained(busy).commits == []


def test_an_hour_that_was_left_alone_forgets_its_messages_later(busy: LakeInFolders) -> None:
    two_days = busy.settings.model_copy(update={"quarantine_days": 2})
    later = NOW + timedelta(days=5)
    path = next(path for path in busy.paths("main", f"quarantine/{TOPIC}/") if "2026-03-01-12" in path)
    content = change(busy, path, BROKEN)
    assert [hour.ingest_hour for hour in maintain(two_days, busy, "run", now=later).refused] == ["2026-03-01-12"]
    assert maintain(two_days, busy, "run", now=later).commits == []
    change(busy, path, content)
    assert messages(busy).keys() == {"2026-03-01-12"}
    publish(busy, [event("late")], NOON + timedelta(minutes=50))
    assert maintain(two_days, busy, "run", now=later).refused == {}
    assert messages(busy) == {}
    assert maintain(two_days, busy, "run", now=later).commits == []


def test_the_key_of_an_unknown_station_outlives_its_message() -> None:
    rows = pa.table(
        {
            "kafka_key": [b"a", b"b", None],
            "kafka_value": [b"1", b"2", b"3"],
            "rule_code": ["MALFORMED_JSON"] + 2 * ["UNKNOWN_STATION"],
        },
        pa.schema([("kafka_key", pa.binary()), ("kafka_value", pa.binary()), ("rule_code", pa.string())]),
    )
    (batch,) = rows.to_batches()
    left = compaction._without_messages(batch)
    assert left.schema == batch.schema
    assert left.to_pydict() == batch.to_pydict() | {"kafka_key": [None, b"b", None], "kafka_value": [None] * 3}


def test_a_file_that_cannot_be_read_holds_up_its_hour_only(busy: LakeInFolders) -> None:
    path = next(iter(busy.paths("main", raw_prefix(TOPIC, "2026-02-28"))))
    change(busy, path, BROKEN)
    done = maintained(busy)
    assert [(hour.ingest_hour, hour.topic) for hour in done.refused] == [("2026-03-01-12", TOPIC)]
    assert done.figures[TOPIC].hours == 1
    assert path in busy.paths("main", "raw/")


def test_large_rows_become_several_files_in_bounded_memory(lake: LakeInFolders) -> None:
    message = 200_000
    for number in range(20):
        publish(lake, [event(f"s{number}")], broken=[bytes([number]) * message] * 4)
    rows = rows_at(lake, "main")
    small = lake.settings.model_copy(update={"compact_mb": 1, "compact_running_files": 2})
    before, peak = pa.total_allocated_bytes(), 0

    def watched(table: pa.Table, *given: object, **options: object) -> None:
        nonlocal peak
        peak = max(peak, pa.total_allocated_bytes() - before)
        write(table, *given, **options)

    write = compaction.pq.write_table
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compaction.pq, "write_table", watched)
        maintain(small, lake, "run", now=NOW)
    assert rows_at(lake, "main") == rows
    assert sum(is_compacted(path) for path in lake.paths("main", "quarantine/")) == 10
    assert peak < 10_000_000


def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the time of a call be over after its first portion."""
    clock = iter(range(0, 1_000_000, 1_000))
    monkeypatch.setattr(maintenance.time, "monotonic", lambda: float(next(clock)))


def test_a_call_has_an_end_and_the_next_one_continues(lake: LakeInFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "PORTION_FILES", 2)
    for hour in range(4):
        for number in range(2):
            publish(lake, [event(f"s{hour}", number)], NOON - timedelta(hours=hour))
    rows = rows_at(lake, "main")
    with monkeypatch.context() as hurried:
        _hurry(hurried)
        done = maintained(lake)
    assert (done.figures[TOPIC].hours, done.hours_left) == (1, 3)
    done = maintained(lake)
    # oldest first, a commit each
    assert (done.figures[TOPIC].hours, done.hours_left, len(done.commits)) == (3, 0, 3)
    assert rows_at(lake, "main") == rows


def test_a_dry_run_changes_nothing(busy: LakeInFolders) -> None:
    head = busy.head().id
    done = maintained(busy, dry_run=True)
    assert busy.head().id == head
    assert done.commits == []
    assert (done.figures[TOPIC].files_before, done.figures[TOPIC].files_after) == (16, 6)
    assert busy.read("main", PATH) is None
    real = maintained(busy)
    assert real.figures[TOPIC].files_before == done.figures[TOPIC].files_before
    assert real.figures[TOPIC].files_after == done.figures[TOPIC].files_after


def test_a_lake_of_an_earlier_version_gets_the_file_of_known_stations(lake: LakeInFolders) -> None:
    wanted = planned(lake, STATION_REGISTRY.topic, 2, NOON)
    rows = [registered("a"), registered("b")]
    merge(lake, candidate(lake, wanted, rows, notes_stations=False))
    assert lake.read("main", KNOWN_STATIONS_PATH) is None
    maintained(lake)
    assert lake.read("main", KNOWN_STATIONS_PATH) is not None
    assert known_stations(lake, "main") == {"a", "b"}


def messages(lake: LakeInFolders) -> dict[str, list[bytes]]:
    """The messages that quarantine still has, by ingest hour."""
    found: dict[str, list[bytes]] = {}
    for row in rows_at(lake, "main", f"quarantine/{TOPIC}/"):
        if row["kafka_value"] is not None:
            found.setdefault(row["folder"].partition("ingest_hour=")[2], []).append(row["kafka_value"])
    return found


def test_old_quarantine_loses_its_messages_and_nothing_else(busy: LakeInFolders) -> None:
    def places() -> list[tuple[object, ...]]:
        names = ("folder", "kafka_partition", "kafka_offset", "kafka_timestamp", "rule_code", "publication_id")
        return [tuple(row[name] for name in names) for row in rows_at(busy, "main", f"quarantine/{TOPIC}/")]

    before, good = places(), rows_at(busy, "main", raw_prefix(TOPIC))
    two_days = busy.settings.model_copy(update={"quarantine_days": 2})
    maintained(busy)
    assert messages(busy).keys() == {"2026-03-01-12", "2026-03-01-13"}
    head = busy.head().id
    assert maintain(two_days, busy, "run", now=NOW).commits == []
    # the first hour is two days old now
    done = maintain(two_days, busy, "run", now=LATER + timedelta(days=2, minutes=30))
    assert messages(busy).keys() == {"2026-03-01-13"}
    assert (done.refused, done.figures[TOPIC].rows) == ({}, 3 + 2)
    maintain(two_days, busy, "run", now=NOW + timedelta(days=2))
    assert messages(busy) == {}
    assert places() == before
    assert rows_at(busy, "main", raw_prefix(TOPIC)) == good
    assert len([row for row in rows_at(busy, head) if row.get("kafka_value")]) == 6
    # nothing of it is done twice, and nothing can be sent again
    assert maintain(two_days, busy, "run", now=NOW + timedelta(days=9)).commits == []
    for manifest in published_in_hour(busy, TOPIC, "2026-03-01-12"):
        verdicts = [g.judge(busy.settings, busy, manifest, busy.head().id) for g in GATES if g.judged_on_main]
        assert all(verdict.passed for verdict in verdicts)


def test_forgetting_continues_where_a_call_ended(busy: LakeInFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    two_days = busy.settings.model_copy(update={"quarantine_days": 2})
    maintained(busy)
    maintained(busy, now=NOW + timedelta(days=5))
    monkeypatch.setattr(maintenance, "PORTION_FILES", 1)
    with monkeypatch.context() as hurried:
        _hurry(hurried)
        maintain(two_days, busy, "run", now=NOW + timedelta(days=5))
    assert messages(busy).keys() == {"2026-03-01-13"}
    assert len(maintain(two_days, busy, "run", now=NOW + timedelta(days=5)).commits) == 1
    assert messages(busy) == {}

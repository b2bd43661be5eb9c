"""`evcharge lake maintain` on real servers: fewer files, the same rows for every reader, and all stores equal."""

from __future__ import annotations

import json
from collections import Counter
from secrets import token_hex
from typing import Any

import lakefs_sdk
import pytest
from support import NOON, Lake, Record, evcharge, record, send, station, stopped
from typer.testing import CliRunner

from evcharge.audit.trace import trace
from evcharge.cli.app import app
from evcharge.connections import lakefs_client
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.feeds.producer import KafkaPublisher
from evcharge.feeds.sent_ledger import publish_chunk
from evcharge.lake.gates import GATES
from evcharge.lake.known_stations import known_stations
from evcharge.lake.layout import is_compacted
from evcharge.lake.locate import published_in_hour
from evcharge.lake.requeue import requeue
from evcharge.warehouse.pending_loads import pending_loads

TOPIC = SESSION_EVENTS.topic
MARK = f"maintained-{token_hex(3)}"
PUBLICATIONS = 6


@pytest.fixture(scope="module", autouse=True)
def _small_publications(lake: Lake) -> None:
    """Sessions of a producer of ours, in a publication each, some with a message that is no JSON or of no station."""
    lake.register(station(MARK))
    for number in range(PUBLICATIONS):
        lake.publish_waiting()
        with KafkaPublisher(lake.settings) as publisher:
            events = [stopped(f"{MARK}-{number}", MARK, NOON)]
            publish_chunk(lake.settings, publisher, MARK, f"{number:06}", SESSION_EVENTS, events)
        other = record(SESSION_EVENTS, stopped(f"{MARK}-other-{number}", f"{MARK}-other", NOON))
        send(lake.settings, TOPIC, [Record(b"k", b"{"), other][: number % 3])
        lake.publish(lake.plan())
    lake.load_waiting()


@pytest.fixture(autouse=True)
def as_if_the_hour_were_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVCHARGE_COMPACT_RUNNING_FILES", "2")
    # no stream runs here
    monkeypatch.setenv("EVCHARGE_PROFILE", "small")


def called(*arguments: str) -> Any:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, (done.exception, done.output)
    return json.loads(done.stdout)


def files(lake: Lake) -> Counter[str]:
    """Files by folder."""
    paths = [path for kind in ("raw", "quarantine") for path in lake.repository.paths("main", f"{kind}/{TOPIC}/")]
    return Counter(path.rpartition("/")[0] for path in paths)


def test_files_become_few_and_all_stores_stay_equal(lake: Lake) -> None:
    rows, before, head = lake.all_rows(), files(lake), lake.repository.head().id
    assert called("reconcile")["equal"]
    expected = called("lake", "maintain", "--dry-run")
    assert (lake.repository.head().id, files(lake)) == (head, before)
    assert expected["topics"][TOPIC]["files_before"] >= PUBLICATIONS
    done = called("lake", "maintain")
    own = done["topics"][TOPIC]
    assert (done["refused"], done["hours_left"], done["commits"]) == ([], 0, [lake.repository.head().id])
    assert own["files_before"] == expected["topics"][TOPIC]["files_before"]
    assert max(files(lake).values()) == 1
    assert before.total() - files(lake).total() == own["files_before"] - own["files_after"]
    assert own["bytes_after"] == sum(
        size for path, size in lake.repository.sizes("main", "") if is_compacted(path) and f"/{TOPIC}/" in path
    )
    assert lake.all_rows() == rows == lake.all_rows(ref=head)
    verdict = called("reconcile")
    assert (verdict["equal"], verdict["days_behind"]) == (True, [])
    assert pending_loads(lake.settings, lake.repository).nothing
    again = called("lake", "maintain")
    assert (again["topics"], again["commits"]) == ({}, [])


def test_the_table_for_people(lake: Lake) -> None:
    lake.publish(lake.send([record(SESSION_EVENTS, stopped(f"{MARK}-late", MARK, NOON))]))
    lake.load_waiting()
    ended = evcharge("lake", "maintain")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[0].split() == ["topic", "hours", "files", "MB", "manifests'", "files"]
    assert TOPIC in ended.stdout
    assert evcharge("lake", "maintain").stdout == "no small files\n"


def test_a_compacted_hour_is_verified_as_before(lake: Lake) -> None:
    head = lake.repository.head().id
    hours = {path.split("/")[2] for path in lake.repository.paths(head, f"_publications/{TOPIC}/")}
    manifests = [m for hour in hours for m in published_in_hour(lake.repository, TOPIC, hour, head)]
    own = [m for m in manifests if any(is_compacted(path) for path in m.files)]
    assert len(own) >= PUBLICATIONS
    for manifest in own:
        verdicts = [g.judge(lake.settings, lake.repository, manifest, head) for g in GATES if g.judged_on_main]
        assert [verdict.message for verdict in verdicts if not verdict.passed] == []


def test_a_session_is_traced_through_a_compacted_hour(lake: Lake) -> None:
    found = trace(lake.settings, f"{MARK}-0")
    assert found is not None
    assert found.fact is not None
    assert [event["event_type"] for event in found.events] == ["stopped"]
    (publication,) = found.publications
    assert publication["publication_id"] == found.events[0]["publication_id"] == found.fact["publication_id"]


def test_rows_come_back_from_compacted_quarantine(lake: Lake) -> None:
    # what other tests left
    requeue(lake.settings, lake.repository, lake.spark, TOPIC, "UNKNOWN_STATION")
    lake.register(station(f"{MARK}-other"))
    assert requeue(lake.settings, lake.repository, lake.spark, TOPIC, "UNKNOWN_STATION").sent == PUBLICATIONS // 3
    lake.publish_waiting()
    lake.load_waiting()
    assert called("reconcile")["equal"]


def test_sessions_ask_one_file_for_the_stations(lake: Lake) -> None:
    rows = lake.table("main", f"raw/{STATION_REGISTRY.topic}/")["station_id"].to_pylist()
    assert known_stations(lake.repository, "main") == set(rows)


def test_the_rules_of_lakefs_collection_are_set(lake: Lake) -> None:
    rules = lakefs_sdk.RepositoriesApi(lakefs_client(lake.settings)).get_gc_rules(lake.repository.name)
    assert rules.default_retention_days == lake.settings.lake_history_days
    assert not lake.repository.keep_history(lake.settings.lake_history_days)


def test_what_an_attempt_has_written_tells_its_range(lake: Lake) -> None:
    planned = lake.send([record(SESSION_EVENTS, stopped(f"{MARK}-planned", MARK, NOON))])
    branch = planned.branch(1)
    lake.repository.create_branch(branch)
    lake.repository.write_json(branch, planned.manifest_path, {"range": planned.to_json()})
    assert lake.repository.uncommitted(branch, "_publications/") == [planned.manifest_path]
    assert lake.repository.uncommitted(branch, "raw/") == []
    lake.publish(planned)

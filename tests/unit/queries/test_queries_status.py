"""The status page's parts: what is down says so, hides nothing, and holds nobody up."""

from __future__ import annotations

import threading
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from evcharge.live.stream_status import QueryStatus
from evcharge.queries import status as module
from evcharge.queries.status import Publication, StatusReader, _feeds, _home_bytes, _lake, _warehouse
from evcharge.settings import load_settings

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)


def publication(topic: str, ago_h: float, end: int, *days: str) -> Publication:
    return Publication(topic, NOW - timedelta(hours=ago_h), "c" * 64, {"0": end, "1": end}, days, 3)


def query(name: str, age_s: float | None, **fields: Any) -> QueryStatus:
    as_of = None if age_s is None else (NOW - timedelta(seconds=age_s)).isoformat()
    return QueryStatus(name, "s", "i", NOW.isoformat(), as_of, **fields)


@pytest.mark.slow
def test_a_platform_that_is_down_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing answers: every store says so, the disk and the links are there."""
    for name in ("EVCHARGE_HOME", "EVCHARGE_PORT_OFFSET"):
        monkeypatch.delenv(name, raising=False)
    settings = load_settings(home=tmp_path, port_offset=39_000)

    def no_cassandra() -> None:
        raise ConnectionError("refused")

    reader = StatusReader(settings)
    with Elasticsearch(settings.elasticsearch_url) as client:
        answer = reader.read(client, no_cassandra, NOW).to_json()
    reader.close()
    assert {store["state"] for store in answer["stores"]} == {"down"}
    assert len(answer["stores"]) == 9
    assert answer["feeds"] == []
    assert answer["note"]
    assert answer["disk"]["free_bytes"] > 0
    assert "not known" in answer["lake"]["note"]
    assert "not known" in answer["warehouse"]["note"]
    assert len(answer["links"]) == 3


def test_a_part_that_hangs_is_shown_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_S", 0.0)
    reader = StatusReader(load_settings(home=tmp_path))
    hangs, asked = threading.Event(), []

    def call() -> str:
        asked.append(1)
        if len(asked) > 1:
            hangs.wait(10)
        return f"answer {len(asked)}"

    assert reader._ask("part", call, 0.0).outcome(5.0) == "answer 1"
    time.sleep(0.01)
    second = reader._ask("part", call, 0.0)
    assert second.outcome(0.0) == "answer 1"
    # it is looked for once at a time, however many ask
    assert reader._ask("part", call, 0.0) is second
    assert len(asked) <= 2
    hangs.set()
    assert second.outcome(5.0) == "answer 2"
    reader.close()


def test_feeds_say_how_current_they_are() -> None:
    found = _feeds(
        [
            query("stations", 2.0, lag_rows=7),
            query("vehicles", 45.0),
            query("registry", None),
            query("journal", 1.0, failing_since=NOW.isoformat(), failing_reason="cassandra is down"),
            query("something else", 1.0),
        ],
        {"stations": "2026-05-20T11:59:00.000Z"},
        NOW,
    )
    assert [(feed["state"], feed["lag"]) for feed in found] == [
        ("current", 7),
        ("behind", 0),
        ("unknown", 0),
        ("failing", 0),
    ]
    assert found[0]["last_at"] == "2026-05-20T11:59:00.000Z"
    assert found[3]["detail"] == "cassandra is down"


def test_the_lake_counts_what_waits_in_kafka() -> None:
    merged = [
        publication("session-events", 1, 40),
        publication("station-registry", 2, 5),
        publication("session-events", 3, 9),
    ]
    statuses = [
        query("stations", 1.0, log_end=100),
        query("journal", 1.0, log_end=100),
        query("registry", 1.0, log_end=10),
    ]
    lake = _lake(merged, [], statuses)
    assert (lake["unpublished_rows"], lake["last_merge_at"]) == (20, "2026-05-20T11:00:00.000Z")
    assert lake["quarantined_rows"] == 9
    assert _lake(merged, [], [query("stations", 1.0)])["unpublished_rows"] is None
    unknown = _lake(ConnectionError("dagster is down"), ConnectionError("dagster is down"), statuses)
    assert unknown["last_merge_at"] is None
    assert unknown["note"].count("dagster is down") == 2


def test_a_range_is_parked_until_its_topic_is_merged_again() -> None:
    """A range that was released, or published with others once its fault was repaired, has no run of its own that succeeds."""
    parked = {"topic": "session-events", "parked_at": "2026-05-20T10:00:00.000Z"}
    before, after = publication("session-events", 3, 9), publication("session-events", 1, 9)
    assert _lake([before], [parked], [])["parked"] == [parked]
    assert _lake([publication("station-registry", 1, 9), before], [parked], [])["parked"] == [parked]
    assert _lake([after, before], [parked], [])["parked"] == []
    assert _lake([], [parked], [])["parked"] == [parked]


def test_a_day_that_was_touched_after_its_load_is_pending() -> None:
    loaded = {date(2026, 5, 18): NOW - timedelta(hours=5), date(2026, 5, 19): NOW - timedelta(minutes=30)}
    merged = [
        publication("session-events", 1, 9, "2026-05-18", "2026-05-19"),
        publication("session-events", 2, 5, "2026-05-20"),
    ]
    found = _warehouse(merged, loaded)
    assert found["pending_days"] == ["2026-05-18", "2026-05-20"]
    assert found["last_loaded_day"] == "2026-05-19"
    assert _warehouse(ConnectionError(), loaded)["pending_days"] is None
    assert _warehouse(merged, {})["last_loaded_day"] is None


def test_a_homes_bytes_are_counted_for_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x" * 100_000)
    found = _home_bytes(tmp_path)
    assert found is not None
    assert 100_000 <= found < 200_000
    monkeypatch.setattr(module, "DISK_COUNTED_S", -1.0)
    assert _home_bytes(tmp_path) is None

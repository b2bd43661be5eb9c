"""An event's way: what Spark and the workers note becomes seconds of each step, which add up to the whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.trace import STEPS, Batch, batch_of, read, way

BEGAN_AT = 1_700_000_000.0
SPARK_MS = {
    "latestOffset": 10,
    "getBatch": 1,
    "queryPlanning": 19,
    "walCommit": 30,
    "addBatch": 400,
    "triggerExecution": 500,
}
#: Four rows, sent 0.5 s before the batch began; their worker began 100 ms after it and took 0.3 s.
NOTE = {
    "began_at": BEGAN_AT + 0.1,
    "seconds": 0.3,
    "rows": 4,
    "sent_at": 4 * (BEGAN_AT - 0.5),
    "documents": 2,
    "document bytes": 600,
    "read": 0.1,
    "judge": 0.02,
    "fold": 0.01,
    "encode": 0.02,
    "request": 0.08,
    "refresh": 0.04,
}
STEPS_S = {
    "wait": 0.5,
    "offsets": 0.01,
    "log": 0.03,
    "plan": 0.02,
    "start": 0.04,
    "read": 0.1,
    "judge": 0.02,
    "decode": 0.03,
    "fold": 0.01,
    "encode": 0.02,
    "request": 0.08,
    "refresh": 0.04,
}


def test_the_steps_are_all_of_the_time_from_the_sending_to_the_end_of_the_worker() -> None:
    batch = batch_of(BEGAN_AT, SPARK_MS, NOTE)
    assert batch.steps == pytest.approx(STEPS_S, abs=1e-6)
    assert sum(batch.steps.values()) == pytest.approx(0.5 + 0.1 + 0.3, abs=1e-6)


def test_each_event_counts_with_its_batch() -> None:
    short, long = (Batch(rows, dict.fromkeys(STEPS, s), 1, 1) for rows, s in ((30, 0.1), (10, 0.5)))
    assert way([short, long]) == pytest.approx(dict.fromkeys(STEPS, 0.2))


def test_only_batches_with_events_of_the_stations_query_count(tmp_path: Path) -> None:
    (tmp_path / "worker-1.jsonl").write_text(json.dumps(NOTE) + "\n")
    progress = {"name": "stations-x-1", "timestamp": "2023-11-14T22:13:20.000Z", "durationMs": SPARK_MS}
    others = [{**progress, "name": "journal-x-1"}, {**progress, "timestamp": "2023-11-14T22:13:25.000Z"}]
    (tmp_path / "batches.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (progress, *others)))
    (batch,) = read(tmp_path, BEGAN_AT - 1, BEGAN_AT + 60)
    assert (batch.rows, batch.documents) == (4, 2)
    assert read(tmp_path, BEGAN_AT + 1, BEGAN_AT + 60) == []
    with pytest.raises(ValueError, match="no batch"):
        way([])

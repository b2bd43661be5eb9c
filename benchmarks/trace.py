"""Where the time of an event goes on the live path, from its sending until a search can find it.

The stream runs as always, but its batches and workers note when they did what (`traced_stream.py`, `traced_worker.py`). Each
event of a batch counts with the batch's steps. The wait is from the sending to the start of the batch that has the event. What
Elasticsearch does with a request is in the time of the request. Spark reads beside the worker, which waits for rows meanwhile.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.harness import Report, Result
from benchmarks.live import (
    CAUGHT_UP_WITHIN_S,
    PEER_RATE,
    RATES,
    SEED,
    STATIONS,
    VEHICLES,
    running_stream,
    wait_until_current,
)
from benchmarks.traced_worker import FOLDER
from benchmarks.traffic import at_stations, register, sending, simulated_messages
from evcharge.connections import elasticsearch
from evcharge.settings import Settings
from simulation import build_network

#: The steps of an event's way, in order. Those up to `start` are between the sending and the first row in the worker.
STEPS = ("wait", "offsets", "log", "plan", "start", "read", "judge", "decode", "fold", "encode", "request", "refresh")
#: Spark's names for what it does before a batch's task starts.
_BEFORE_TASK = {"latestOffset": "offsets", "getBatch": "plan", "walCommit": "log", "queryPlanning": "plan"}


@dataclass(frozen=True, slots=True)
class Effort:
    """How long events are sent at each rate, and how long before the first notes count."""

    seconds: float = 40.0
    warm_up_s: float = 40.0
    compiled_after_s: float = 120.0
    days: int = 2


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch: its rows, and the seconds of each step for all of them."""

    rows: int
    steps: Mapping[str, float]
    documents: int
    document_bytes: int


def trace(settings: Settings, effort: Effort, report: Report) -> list[Result]:
    """The mean way of an event at each rate."""
    report("simulating traffic")
    network = build_network(STATIONS, SEED)
    messages = simulated_messages(network, VEHICLES, SEED, effort.days)
    results = []
    with TemporaryDirectory(prefix="evcharge-trace-") as folder, elasticsearch(settings) as client:
        for prefix in ("warm", *(f"way{rate}" for rate in RATES)):
            register(settings, network.registry_records(), prefix)
        report("starting the stream")
        with running_stream(settings, client, (sys.executable, "-m", "benchmarks.traced_stream"), {FOLDER: folder}):
            report("warming up")
            with sending(settings, at_stations(messages, "warm"), PEER_RATE, effort.compiled_after_s) as acknowledged:
                acknowledged()
            wait_until_current(client, "stations", datetime.now(UTC), CAUGHT_UP_WITHIN_S)
            for rate in RATES:
                report(f"an event's way at {rate:,} events/s")
                seconds = effort.warm_up_s + effort.seconds
                began_at = time.time()
                with sending(settings, at_stations(messages, f"way{rate}"), rate, seconds) as acknowledged:
                    acknowledged()
                results.append(_result(rate, read(Path(folder), began_at + effort.warm_up_s, began_at + seconds)))
                wait_until_current(client, "stations", datetime.now(UTC), CAUGHT_UP_WITHIN_S)
    report("ready")
    return results


def read(folder: Path, from_at: float, to_at: float) -> list[Batch]:
    """The batches with session events that began in this time, from the notes of Spark and of the workers."""
    notes = sorted(
        (json.loads(line) for file in folder.glob("worker-*.jsonl") for line in file.read_text().splitlines()),
        key=lambda note: note["began_at"],
    )
    batches = []
    for line in (folder / "batches.jsonl").read_text().splitlines():
        progress = json.loads(line)
        began_at = datetime.fromisoformat(progress["timestamp"]).timestamp()
        if not progress["name"].startswith("stations-") or not from_at <= began_at < to_at:
            continue
        ended_at = began_at + progress["durationMs"]["triggerExecution"] / 1000
        own = [note for note in notes if began_at <= note["began_at"] < ended_at]
        if len(own) == 1:
            batches.append(batch_of(began_at, progress["durationMs"], own[0]))
    return batches


def batch_of(began_at: float, spark_ms: Mapping[str, float], note: Mapping[str, float]) -> Batch:
    """A batch from what Spark says of it (ms by Spark's names), and what its worker noted (s by step)."""
    rows = int(note["rows"])
    steps = {step: note.get(step, 0.0) for step in STEPS}
    for name, step in _BEFORE_TASK.items():
        steps[step] += spark_ms.get(name, 0.0) / 1000
    steps["wait"] = began_at - note["sent_at"] / rows
    steps["start"] = note["began_at"] - began_at - sum(steps[step] for step in set(_BEFORE_TASK.values()))
    # of the worker's time what no other step has
    steps["decode"] = max(note["seconds"] - sum(note.get(step, 0.0) for step in STEPS), 0.0)
    return Batch(rows, steps, int(note["documents"]), int(note["document bytes"]))


def way(batches: Sequence[Batch]) -> dict[str, float]:
    """The mean seconds that an event spends in each step. Raises ValueError if there is no batch."""
    rows = sum(batch.rows for batch in batches)
    if not rows:
        raise ValueError("no batch was noted")
    return {step: sum(batch.steps[step] * batch.rows for batch in batches) / rows for step in STEPS}


def _result(rate: int, batches: Sequence[Batch]) -> Result:
    steps = way(batches)
    total = sum(steps.values())
    shares = ", ".join(f"{step} {100 * seconds / total:.0f} %" for step, seconds in steps.items())
    result = Result(f"way at {rate:,}/s", "s", f"An event can be found after this time (mean). Of it: {shares}.")
    result.ours.append(round(total, 3))
    result.details |= {
        "steps_ms": {step: round(1000 * seconds, 1) for step, seconds in steps.items()},
        **_sizes(batches),
    }
    result.run_ended()
    return result


def _sizes(batches: Sequence[Batch]) -> dict[str, Any]:
    documents = sum(batch.documents for batch in batches)
    return {
        "batches": len(batches),
        "rows_per_batch": round(sum(batch.rows for batch in batches) / len(batches)),
        "documents_per_batch": round(documents / len(batches)),
        "document_bytes": round(sum(batch.document_bytes for batch in batches) / max(documents, 1)),
    }

"""The stream in one task and in two on the same machine: how many session events a second it works off.

The events are sent faster than the stream takes them, and time counts from the first one's sending until the state is current.
So the sender and the stores take their part of the processors in both cases.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

from benchmarks.harness import Report, Result
from benchmarks.live import SEED, STATIONS, STREAM, VEHICLES, ended, running_stream
from benchmarks.traffic import at_stations, register, sending, simulated_messages
from evcharge.connections import elasticsearch
from evcharge.settings import Settings
from simulation import build_network

TASKS = (1, 2)
#: More than the stream takes on two cores.
SENT_PER_S = 40_000


@dataclass(frozen=True, slots=True)
class Effort:
    """How long events are sent in each round, and at what rate for how long before."""

    seconds: float = 8.0
    rounds: int = 3
    warm_up_per_s: int = 5_000
    warm_up_s: float = 90.0
    days: int = 2


def stream_tasks(settings: Settings, effort: Effort, report: Report) -> list[Result]:
    """The rate with one task and with two, and one against the other."""
    report("simulating traffic")
    network = build_network(STATIONS, SEED)
    messages = simulated_messages(network, VEHICLES, SEED, effort.days)
    results = {tasks: _result(tasks) for tasks in TASKS}
    with elasticsearch(settings) as client:
        for tasks, result in results.items():
            prefix = f"task{tasks}"
            register(settings, network.registry_records(), prefix)
            own = at_stations(messages, prefix)
            report(f"starting the stream with {tasks} of its tasks")
            with running_stream(settings, client, STREAM, {"EVCHARGE_STREAM_TASKS": str(tasks)}):
                report("warming up")
                with sending(settings, own, effort.warm_up_per_s, effort.warm_up_s) as acknowledged:
                    ended(client, acknowledged)
                for number in range(1, effort.rounds + 1):
                    report(f"{tasks} of its tasks, round {number} of {effort.rounds}")
                    with sending(settings, own, SENT_PER_S, effort.seconds) as acknowledged:
                        begun = time.monotonic()
                        sent = ended(client, acknowledged)[0] * effort.seconds
                    result.ours.append(round(sent / (time.monotonic() - begun)))
                result.run_ended()
    both = Result(
        "two tasks to one",
        "times",
        "Two tasks on two cores work off so many times as many events a second as one.",
        floor=1.0,
        aim=1.5,
    )
    both.ours.append(round(median(results[2].ours) / median(results[1].ours), 2))
    both.run_ended()
    report("ready")
    return [*results.values(), both]


def _result(tasks: int) -> Result:
    words = "One task folds" if tasks == 1 else f"{tasks} tasks fold"
    return Result(f"stream in {tasks}", "events/s", f"{words} so many session events a second while more are sent.")

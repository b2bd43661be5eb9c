"""`evcharge stream`: the live stream outside Dagster."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Annotated

import typer

from evcharge.cli.output import plain_logs, say

if TYPE_CHECKING:
    from evcharge.live.stream_runner import StreamProgress

ENDS_AFTER_S = 3.0


def stream(
    report_every_s: Annotated[float, typer.Option("--report-every", min=1, help="Seconds between two reports.")] = 10.0,
    stand_in: Annotated[
        bool, typer.Option("--stand-in", help="Until another stream wants to run, such as Dagster's.")
    ] = False,
) -> None:
    """Run the live stream here until it is stopped (Ctrl-C or SIGTERM), instead of in Dagster.

    It keeps station state and car positions in Elasticsearch current, and hourly usage in Cassandra. A platform runs one
    stream: this one refuses to start while Dagster's (job `live_stream`) runs. A query whose store is down is tried again
    until it is back, and the others go on. `evcharge live status` says in another window how current the state is.

    `evcharge up` starts one with --stand-in before Dagster: Dagster's takes over once it can run. A stand-in ends at once where
    a stream runs.
    """
    from evcharge.live.stream_lock import is_running
    from evcharge.live.stream_runner import run_stand_in, run_stream
    from evcharge.settings import load_settings

    plain_logs()
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    settings = load_settings()
    if stand_in and is_running(settings):
        say("a stream runs already")
        # the supervisor takes a process that ends at once for one that cannot start
        time.sleep(ENDS_AFTER_S)
        return
    (run_stand_in if stand_in else run_stream)(settings, stop, _print, report_every_s)


def _print(progress: StreamProgress) -> None:
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    for name, status in progress.statuses.items():
        failing = f", failing since {status.failing_since}: {status.failing_reason}" if status.failing_since else ""
        age_s = status.age_s(now)
        age = "" if age_s is None else f", {age_s:.1f} s old"
        rows = sum(progress.hours[name].values())
        say(
            f"{now:%H:%M:%S} {name}: {rows:,} rows, {status.lag_rows:,} behind{age}, batch {status.batch_s:.2f} s{failing}"
        )
    if progress.dead_letters:
        say(f"{now:%H:%M:%S} {progress.dead_letters:,} dead letters: see `evcharge live dead-letters`")

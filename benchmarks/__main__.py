"""`python -m benchmarks`: starts servers with a home and ports of their own, measures, keeps the figures, cleans up."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from functools import partial

from rich.console import Console
from rich.table import Table

from benchmarks.archive import archive
from benchmarks.dagster_pages import Effort as DagsterEffort
from benchmarks.dagster_pages import dagster_pages
from benchmarks.dashboard import Effort as DashboardEffort
from benchmarks.dashboard import dashboard
from benchmarks.figures import MODULES, Figure, keep, reached, shown, write_page
from benchmarks.harness import Report
from benchmarks.history import Effort as HistoryEffort
from benchmarks.history import history
from benchmarks.idle import Effort as IdleEffort
from benchmarks.idle import idle
from benchmarks.large_day import Effort as DayEffort
from benchmarks.large_day import large_day
from benchmarks.live import Effort as LiveEffort
from benchmarks.live import live
from benchmarks.publishing import publishing
from benchmarks.queries import Effort as QueriesEffort
from benchmarks.queries import queries
from benchmarks.reconcile_scale import Effort as ScaleEffort
from benchmarks.reconcile_scale import reconcile_scale
from benchmarks.simulation import Effort as SimulationEffort
from benchmarks.simulation import World, simulation
from benchmarks.stream_tasks import Effort as TasksEffort
from benchmarks.stream_tasks import stream_tasks
from benchmarks.trace import Effort as TraceEffort
from benchmarks.trace import trace
from evcharge.cli.progress import Progress
from evcharge.settings import Settings, load_settings
from evcharge.stack.preflight import OFFSET_STEP, free_offset
from evcharge.stack.servers import SERVERS
from evcharge.stack.stack import Stack

#: Away from the offsets that people and the tests choose.
FIRST_OFFSET = 17 * OFFSET_STEP
#: The servers that a benchmark needs, if not all.
NEEDS: dict[str, tuple[str, ...]] = {
    "simulation": (),
    "publishing": ("kafka",),
    "large_day": ("minio", "lakefs", "spark-connect", "clickhouse"),
    "reconcile_scale": (),
    "dagster": (),
    "history": ("minio", "lakefs"),
    "idle": (),
}
#: These take up to an hour each, and want the machine for themselves: they run if they are asked for.
ALONE = ("history", "idle")


def main() -> None:
    default = [name for name in MODULES if name not in ALONE]
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--only",
        default=",".join(default),
        help=f"which of {', '.join(MODULES)}; without {', '.join(ALONE)} if not given",
    )
    parser.add_argument("--messages", type=int, default=400_000, help="session events of the archive benchmark")
    parser.add_argument("--runs", type=int, default=3, help="runs of each that is repeated; the median counts")
    parser.add_argument("--quick", action="store_true", help="short and small, to see that it runs; writes nothing")
    parser.add_argument(
        "--write-figures", action="store_true", help="measure nothing, write the page of what was measured"
    )
    options = parser.parse_args()
    if options.write_figures:
        write_page()
        return
    chosen = options.only.split(",")
    if unknown := set(chosen) - set(MODULES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(MODULES)}")
    # so that servers and processes are ended then, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    _show(_measure([name for name in MODULES if name in chosen], options))


def _measure(names: list[str], options: argparse.Namespace) -> list[Figure]:
    """Measures one after another. The figures of each are kept at once, whatever becomes of the next."""
    measured: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="evcharge-bench-") as home:
        os.environ |= {"EVCHARGE_HOME": home, "EVCHARGE_PORT_OFFSET": str(free_offset(FIRST_OFFSET))}
        stack = Stack(load_settings())
        try:
            with Progress() as progress:
                stack.report = progress
                needed = {server for name in names for server in NEEDS.get(name, SERVERS)}
                settings = stack.up([server for server in SERVERS if server in needed]) if needed else load_settings()
                for name in names:
                    figures = _benchmark(name, settings, options, partial(progress, name))
                    if not options.quick:
                        keep(name, figures)
                        write_page()
                    measured += figures
        finally:
            Stack(load_settings()).clean()
    return measured


def _benchmark(name: str, settings: Settings, options: argparse.Namespace, report: Report) -> list[Figure]:
    quick = options.quick
    if name == "archive":
        results = archive(settings, 20_000 if quick else options.messages, 1 if quick else options.runs, report)
    elif name == "live":
        short = LiveEffort(10.0, rounds=1, warm_up_s=5.0, compiled_after_s=5.0, days=1)
        results = live(settings, short if quick else LiveEffort(rounds=options.runs), report)
    elif name == "trace":
        results = trace(settings, TraceEffort(10.0, 5.0, 5.0, days=1) if quick else TraceEffort(), report)
    elif name == "stream_tasks":
        results = stream_tasks(
            settings, TasksEffort(2.0, 1, warm_up_s=5.0, days=1) if quick else TasksEffort(rounds=options.runs), report
        )
    elif name == "queries":
        effort = QueriesEffort(5_000, 3.0, 2.0, rounds=1) if quick else QueriesEffort(rounds=options.runs)
        results = queries(settings, effort, report)
    elif name == "dashboard":
        brief = DashboardEffort(
            3_000, 200_000, 2.0, 3.0, warm_up_s=2.0, loads=2, pans=3, changes=5, streams_s=5.0, rounds=1
        )
        results = dashboard(settings, brief if quick else DashboardEffort(rounds=options.runs), report)
    elif name == "large_day":
        results = large_day(
            settings, DayEffort(20_000, 100, rounds=1) if quick else DayEffort(rounds=options.runs), report
        )
    elif name == "reconcile_scale":
        results = reconcile_scale(ScaleEffort(200_000) if quick else ScaleEffort(), report)
    elif name == "history":
        results = history(settings, HistoryEffort(450, 120.0) if quick else HistoryEffort(), report)
    elif name == "idle":
        results = idle(IdleEffort(120.0, 30.0, memory_every_s=20.0) if quick else IdleEffort(), report)
    elif name == "dagster":
        results = dagster_pages(
            DagsterEffort(60, 2_000, 20, 2, rounds=1) if quick else DagsterEffort(rounds=options.runs), report
        )
    else:
        small = SimulationEffort(World(50, 500, days=2), World(500, 5_000, days=10), runs=1)
        measure = publishing if name == "publishing" else simulation
        results = measure(settings, small if quick else SimulationEffort(runs=options.runs), report)
    return [result.to_json() for result in results]


def _show(figures: list[Figure]) -> None:
    columns = ("ours", "floor", "aim", "peer", "limit", "ours_to_peer", "ours_to_limit", "machine_load")
    headers = (name.replace("_to_", "/").removeprefix("machine_") for name in columns)
    table = Table("benchmark", "unit", *headers, "", box=None, pad_edge=False)
    for result in figures:
        values = (shown(result[name]) if name in result else "" for name in columns)
        table.add_row(result["name"], result["unit"], *values, reached(result))
    Console().print(table)


if __name__ == "__main__":
    main()

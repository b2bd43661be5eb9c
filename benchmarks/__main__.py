"""`python -m benchmarks`: starts servers with a home and ports of their own, measures, writes the results, cleans up."""

from __future__ import annotations

import argparse
import json
import os
import platform as machine
import signal
import sys
import tempfile
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.archive import archive
from benchmarks.harness import Report
from benchmarks.live import Effort as LiveEffort
from benchmarks.live import live
from benchmarks.publishing import publishing
from benchmarks.queries import Effort as QueriesEffort
from benchmarks.queries import queries
from benchmarks.simulation import Effort as SimulationEffort
from benchmarks.simulation import World, simulation
from evcharge.cli.progress import Progress
from evcharge.settings import PROJECT, Settings, load_settings
from evcharge.stack.preflight import OFFSET_STEP, free_offset
from evcharge.stack.servers import SERVERS
from evcharge.stack.stack import Stack

RESULTS = PROJECT / "benchmarks" / "results"
#: Away from the offsets that people and the tests choose.
FIRST_OFFSET = 17 * OFFSET_STEP
#: The archive's comes first: it counts the messages that it has sent.
BENCHMARKS = ("archive", "live", "queries", "simulation")
#: The servers that a benchmark needs, if not all.
NEEDS = {"simulation": ("kafka",)}

#: A result as JSON has it.
Figures = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", default=",".join(BENCHMARKS), help=f"which of {', '.join(BENCHMARKS)}")
    parser.add_argument("--messages", type=int, default=400_000, help="session events of the archive benchmark")
    parser.add_argument("--runs", type=int, default=3, help="runs of each that is repeated; the median counts")
    parser.add_argument("--quick", action="store_true", help="short and small, to see that it runs; writes nothing")
    options = parser.parse_args()
    chosen = options.only.split(",")
    if unknown := set(chosen) - set(BENCHMARKS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    # so that servers and processes are ended then, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    figures = _measure([name for name in BENCHMARKS if name in chosen], options)
    _show(figures)
    if not options.quick:
        _write(figures)


def _measure(names: list[str], options: argparse.Namespace) -> list[Figures]:
    with tempfile.TemporaryDirectory(prefix="evcharge-bench-") as home:
        os.environ |= {"EVCHARGE_HOME": home, "EVCHARGE_PORT_OFFSET": str(free_offset(FIRST_OFFSET))}
        stack = Stack(load_settings())
        try:
            with Progress() as progress:
                stack.report = progress
                needed = {server for name in names for server in NEEDS.get(name, SERVERS)}
                settings = stack.up([server for server in SERVERS if server in needed])
                return [
                    figures
                    for name in names
                    for figures in _benchmark(name, settings, options, partial(progress, name))
                ]
        finally:
            Stack(load_settings()).clean()


def _benchmark(name: str, settings: Settings, options: argparse.Namespace, report: Report) -> list[Figures]:
    quick = options.quick
    if name == "archive":
        results = archive(settings, 20_000 if quick else options.messages, 1 if quick else options.runs, report)
    elif name == "live":
        short = LiveEffort(10.0, rounds=1, warm_up_s=5.0, compiled_after_s=5.0, days=1)
        results = live(settings, short if quick else LiveEffort(rounds=options.runs), report)
    elif name == "queries":
        effort = QueriesEffort(5_000, 3.0, 2.0, rounds=1) if quick else QueriesEffort(rounds=options.runs)
        results = queries(settings, effort, report)
    else:
        small = SimulationEffort(World(50, 500, days=2), World(500, 5_000, days=10), runs=1)
        simulated = small if quick else SimulationEffort(runs=options.runs)
        results = [*simulation(settings, simulated, report), *publishing(settings, simulated, report)]
    return [result.to_json() for result in results]


def _write(figures: list[Figures]) -> None:
    """Writes the figures; what was not measured now stays as it was."""
    path = RESULTS / "latest.json"
    held = {result["name"]: result for result in json.loads(path.read_text())["results"]} if path.exists() else {}
    held |= {result["name"]: result for result in figures}
    report = {"cores": os.cpu_count(), "python": machine.python_version(), "results": list(held.values())}
    RESULTS.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    Console().print(f"written to {path.relative_to(PROJECT)}")


def _show(figures: list[Figures]) -> None:
    columns = ("ours", "peer", "limit", "ours_to_peer", "ours_to_limit", "machine_load")
    headers = (name.replace("_to_", "/").removeprefix("machine_") for name in columns)
    table = Table("benchmark", "unit", *headers, box=None, pad_edge=False)
    for result in figures:
        shown = (f"{result[name]:,.4g}" if name in result else "" for name in columns)
        table.add_row(result["name"], result["unit"], *shown)
    Console().print(table)


if __name__ == "__main__":
    main()

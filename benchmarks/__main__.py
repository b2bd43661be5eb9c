"""`python -m benchmarks`: starts servers with a home and ports of their own, measures, writes the results, cleans up."""

from __future__ import annotations

import argparse
import json
import os
import platform as machine
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.archive import archive
from benchmarks.harness import Result
from evcharge.settings import PROJECT, load_settings
from evcharge.stack.preflight import OFFSET_STEP, free_offset
from evcharge.stack.progress import Progress
from evcharge.stack.services import SERVERS
from evcharge.stack.stack import Stack

RESULTS = PROJECT / "benchmarks" / "results"
#: Away from the offsets that people and the tests choose.
FIRST_OFFSET = 13 * OFFSET_STEP


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--messages", type=int, default=400_000, help="session events of the archive benchmark")
    parser.add_argument("--runs", type=int, default=3, help="runs of each; the median counts")
    options = parser.parse_args()
    results = _measure(options.messages, options.runs)
    RESULTS.mkdir(parents=True, exist_ok=True)
    report = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "python": machine.python_version(),
        "results": [result.to_json() for result in results],
    }
    (RESULTS / "latest.json").write_text(json.dumps(report, indent=2) + "\n")
    _show(results)


def _measure(messages: int, runs: int) -> list[Result]:
    with tempfile.TemporaryDirectory(prefix="evcharge-bench-") as home:
        os.environ |= {"EVCHARGE_HOME": home, "EVCHARGE_PORT_OFFSET": str(free_offset(FIRST_OFFSET))}
        stack = Stack(load_settings())
        try:
            with Progress() as progress:
                stack.report = progress
                settings = stack.up(SERVERS)
                return archive(settings, messages, runs, lambda doing: progress("benchmark", doing))
        finally:
            Stack(load_settings()).clean()


def _show(results: list[Result]) -> None:
    table = Table(
        "benchmark", "unit", "ours", "peer", "limit", "ours/peer", "ours/limit", "load", box=None, pad_edge=False
    )
    for result in results:
        shown = result.to_json()
        table.add_row(
            *(result.name, result.unit, f"{shown['ours']:,.0f}", f"{shown['peer']:,.0f}", f"{shown['limit']:,.0f}"),
            *(f"{shown['ours_to_peer']:.2f}", f"{shown['ours_to_limit']:.2f}", f"{shown['machine_load']:.1f}"),
        )
    Console().print(table)
    Console().print(f"written to {Path('benchmarks') / 'results' / 'latest.json'}")


if __name__ == "__main__":
    main()

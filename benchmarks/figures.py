"""The figures that were measured last, in `figures.json` beside this, and the page for readers that is made of them."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Sequence
from inspect import cleandoc
from pathlib import Path
from typing import Any

from evcharge.settings import PROJECT

FOLDER = Path(__file__).parent
STORE = FOLDER / "figures.json"
PAGE = PROJECT / "docs" / "figures.md"

#: Each benchmark's module, in the order of measuring and of the page. The archive's counts the messages that it has sent, so
#: it comes first.
MODULES = {
    "archive": "archive",
    "live": "live",
    "trace": "trace",
    "stream_tasks": "stream_tasks",
    "queries": "queries",
    "dashboard": "dashboard",
    "simulation": "simulation",
    "publishing": "publishing",
    "large_day": "large_day",
    "reconcile_scale": "reconcile_scale",
    "dagster": "dagster_pages",
    "history": "history",
    "idle": "idle",
}

Figure = dict[str, Any]
"""A result as `Result.to_json` gives it, with its `benchmark`."""

_HEAD = """# Figures

What `make bench` measured, and when. [Operations](operations.md#measure) says how to measure it yourself. This page is made of
`benchmarks/figures.json`, by `make bench` or by `.venv/bin/python -m benchmarks --write-figures`.

- **ours** is the median of the runs. The range of the runs is beside it if there was more than one.
- **floor** is what the figure must reach, **aim** what it should. A figure that misses its floor says so.
- **limit** is what the engine below reaches when it does the least that could be called the same. **peer** is another program
  that does the same work. Both are measured in the same run. The number in brackets is ours divided by it: less is better of a
  time, more of a rate.
- **load** is the machine's load average at the end of a run: what else ran belongs to the figure.
"""
_COLUMNS = ("figure", "ours", "floor", "aim", "limit", "peer", "measured", "what it means")


def keep(benchmark: str, figures: Iterable[Figure], store: Path = STORE) -> None:
    """Keeps a benchmark's figures in place of those that it had before. The others' stay, each with its own date."""
    others = [figure for figure in kept(store) if figure["benchmark"] != benchmark]
    own = [{"benchmark": benchmark, **figure} for figure in figures]
    order = list(MODULES)
    results = sorted([*others, *own], key=lambda figure: order.index(figure["benchmark"]))
    store.write_text(json.dumps({"results": results}, indent=2) + "\n")


def kept(store: Path = STORE) -> list[Figure]:
    """The figures that were kept, of the benchmarks that there are, in the order of the page."""
    results: list[Figure] = json.loads(store.read_text())["results"] if store.exists() else []
    return [figure for figure in results if figure["benchmark"] in MODULES]


def write_page() -> None:
    PAGE.write_text(page(kept()))


def page(figures: Sequence[Figure]) -> str:
    """The page (Markdown): each benchmark with what it does and its figures, and the machines."""
    letters: dict[str, str] = {}
    for figure in figures:
        letters.setdefault(_machine(figure), chr(ord("A") + len(letters)))
    parts = [_HEAD]
    for benchmark in MODULES:
        own = [figure for figure in figures if figure["benchmark"] == benchmark]
        table = _table(own, letters) if own else "Not measured yet.\n"
        parts.append(f"## {benchmark}\n\n{about(benchmark)}\n\n{table}")
    if letters:
        machines = "".join(f"- **{letter}**: {machine}\n" for machine, letter in letters.items())
        parts.append(f"## Machines\n\n{machines}")
    return "\n".join(parts)


def about(benchmark: str) -> str:
    """What the benchmark's module says of itself."""
    source = (FOLDER / f"{MODULES[benchmark]}.py").read_text()
    return cleandoc(ast.get_docstring(ast.parse(source)) or "")


def reached(figure: Figure) -> str:
    """Which of floor and aim the figure reached, in words; empty if it has no floor. Less is better where the aim is less.

    Without an aim less is better, too: such floors are the most that something may take.
    """
    if "floor" not in figure:
        return ""
    ours, floor, aim = figure["ours"], figure["floor"], figure.get("aim")
    sign = -1 if aim is None or aim < floor else 1
    if sign * (ours - floor) < 0:
        return "misses its floor"
    return "reaches its aim" if aim is not None and sign * (ours - aim) >= 0 else "reaches its floor"


def shown(value: float) -> str:
    """Three digits, or all before the point: 0.0123, 4.56, 123,457."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(figures: Sequence[Figure], letters: dict[str, str]) -> str:
    head = [f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]
    return "\n".join([*head, *(_row(figure, letters[_machine(figure)]) for figure in figures)]) + "\n"


def _row(figure: Figure, letter: str) -> str:
    runs = figure["runs"]["ours"]
    ours = f"{shown(figure['ours'])} {figure['unit']}"
    if len(runs) > 1:
        ours += f" ({shown(min(runs))} to {shown(max(runs))})"
    if words := reached(figure):
        ours += f", **{words}**" if words.startswith("misses") else f", {words}"
    measured = f"{figure['measured_at'][:10]}, load {shown(figure['machine_load'])}, machine {letter}"
    what = figure["what"]
    if reason := figure.get("details", {}).get("no_peer"):
        what += f" Not compared: {reason}."
    targets = [shown(figure[name]) if name in figure else "" for name in ("floor", "aim")]
    sides = [
        f"{shown(figure[side])} ({shown(figure[f'ours_to_{side}'])})" if side in figure else ""
        for side in ("limit", "peer")
    ]
    cells = (figure["name"], ours, *targets, *sides, measured, what)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _machine(figure: Figure) -> str:
    machine = figure["machine"]
    return f"{machine['cores']} cores, {machine['memory_gb']} GB, {machine['cpu']}, Python {machine['python']}"

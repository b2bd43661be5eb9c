"""The figures that are kept, and their page: what a reader sees without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import figures
from benchmarks.figures import Figure, about, keep, kept, page, reached, shown
from benchmarks.harness import Result, machine

HERE = {"cores": 2, "memory_gb": 25, "cpu": "AMD EPYC", "python": "3.12.3"}


def figure(benchmark: str, name: str, **values: Any) -> Figure:
    """A figure of one run, in seconds."""
    return {
        "benchmark": benchmark,
        "name": name,
        "what": "It takes this long.",
        "unit": "s",
        "ours": 3.0,
        "runs": {"ours": [3.0]},
        "machine_load": 0.5,
        "machine": HERE,
        "measured_at": "2026-11-29T20:00:00+00:00",
        **values,
    }


def line(text: str, name: str) -> list[str]:
    """The cells of a figure's row."""
    (found,) = (row for row in text.splitlines() if row.startswith(f"| {name} |"))
    return [cell.strip() for cell in found.strip("|").split(" | ")]


def test_the_page_is_that_of_the_figures_that_are_kept() -> None:
    assert figures.PAGE.read_text() == page(kept()), "run `python -m benchmarks --write-figures`"


def test_a_result_becomes_a_figure_with_its_machine(tmp_path: Path) -> None:
    store = tmp_path / "figures.json"
    result = Result("burst", "s", "It is over in this time.", [2.0, 4.0, 3.0], limit=[1.5], floor=5, aim=2)
    result.run_ended()
    keep("live", [result.to_json()], store)
    (found,) = kept(store)
    assert (found["benchmark"], found["ours"], found["ours_to_limit"]) == ("live", 3.0, 2.0)
    assert found["machine"] == machine()
    assert all(machine().values())
    cells = line(page([found]), "burst")
    assert cells[1:6] == ["3 s (2 to 4), reaches its floor", "5", "2", "1.5 (2)", ""]
    assert cells[-1] == "It is over in this time."


def test_a_benchmark_replaces_its_own_figures_only(tmp_path: Path) -> None:
    store = tmp_path / "figures.json"
    keep("live", [figure("live", "burst"), figure("live", "renamed since")], store)
    keep("archive", [figure("archive", "archive", measured_at="2026-12-01T08:00:00+00:00")], store)
    keep("live", [figure("live", "burst", ours=2.0, measured_at="2026-12-02T08:00:00+00:00")], store)
    assert [(f["name"], f["ours"], f["measured_at"][:10]) for f in kept(store)] == [
        ("archive", 3.0, "2026-12-01"),
        ("burst", 2.0, "2026-12-02"),
    ]


def test_figures_of_a_benchmark_that_is_gone_are_left_out(tmp_path: Path) -> None:
    store = tmp_path / "figures.json"
    store.write_text('{"results": [{"benchmark": "gone", "name": "old"}]}')
    assert kept(store) == []
    assert kept(tmp_path / "none.json") == []


@pytest.mark.parametrize(
    ("ours", "floor", "aim", "words"),
    [
        (6.0, 5.0, 2.0, "misses its floor"),
        (5.0, 5.0, 2.0, "reaches its floor"),
        (2.0, 5.0, 2.0, "reaches its aim"),
        # of a rate more is better
        (0.9, 0.95, 1.4, "misses its floor"),
        (1.0, 0.95, 1.4, "reaches its floor"),
        (1.4, 0.95, 1.4, "reaches its aim"),
        # without an aim the floor is the most that something may take
        (0.3, 0.2, None, "misses its floor"),
        (0.1, 0.2, None, "reaches its floor"),
    ],
)
def test_a_figure_says_what_it_reached(ours: float, floor: float, aim: float | None, words: str) -> None:
    targets = {"floor": floor} if aim is None else {"floor": floor, "aim": aim}
    assert reached(figure("live", "burst", ours=ours, **targets)) == words
    assert reached(figure("live", "burst", ours=ours)) == ""


def test_the_page_marks_what_misses_its_floor() -> None:
    text = page([figure("live", "burst", floor=1.0, aim=0.5), figure("live", "visible", floor=4.0, aim=0.5)])
    assert line(text, "burst")[1] == "3 s, **misses its floor**"
    assert text.count("**misses its floor**") == 1


def test_the_page_says_where_and_when_each_figure_was_measured() -> None:
    elsewhere = {**HERE, "cores": 64}
    text = page(
        [
            figure("archive", "archive", machine=elsewhere, measured_at="2026-12-01T08:00:00+00:00"),
            figure("live", "burst"),
            figure("dagster", "pages", machine=elsewhere),
        ]
    )
    assert line(text, "archive")[6] == "2026-12-01, load 0.5, machine A"
    assert line(text, "burst")[6] == "2026-11-29, load 0.5, machine B"
    assert line(text, "pages")[6].endswith("machine A")
    assert text.endswith(
        "## Machines\n\n"
        "- **A**: 64 cores, 25 GB, AMD EPYC, Python 3.12.3\n"
        "- **B**: 2 cores, 25 GB, AMD EPYC, Python 3.12.3\n"
    )


def test_the_page_explains_each_benchmark_in_the_order_of_measuring() -> None:
    text = page([figure("dagster", "pages"), figure("archive", "archive")])
    places = [text.index(f"\n## {name}\n\n{about(name)}\n") for name in figures.MODULES]
    assert places == sorted(places)
    assert text.index("\n| archive |") < text.index("\n| pages |")
    assert text.count("Not measured yet.") == len(figures.MODULES) - 2
    assert all(map(about, figures.MODULES))


def test_a_missing_peer_is_named() -> None:
    text = page([figure("archive", "archive", details={"no_peer": "there is no uv"})])
    assert line(text, "archive")[-1] == "It takes this long. Not compared: there is no uv."


def test_numbers_have_three_digits() -> None:
    assert [shown(value) for value in (0.012345, 4.5678, 99.95, 123.45, 123_456.7, 5)] == [
        "0.0123",
        "4.57",
        "100",
        "123",
        "123,457",
        "5",
    ]

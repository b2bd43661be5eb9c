"""What commands print to stdout, and how they show on stderr what takes long."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from io import StringIO
from math import nan
from typing import Any

import pytest

from evcharge.cli.configuration import settings as settings_command
from evcharge.cli.output import show
from evcharge.cli.progress import Progress, wait_for_warehouse
from evcharge.cli.terminal import PlainConsole
from evcharge.settings import Settings
from evcharge.warehouse import wait


def test_an_answer_is_json_or_text(capsys: pytest.CaptureFixture[str]) -> None:
    payload = {"at": datetime(2026, 1, 2, tzinfo=UTC), "rows": [1, 2]}
    show(payload, True, lambda: print("text"))
    many_lines = capsys.readouterr().out
    show(payload, True, lambda: print("text"), indent=None)
    one_line = capsys.readouterr().out
    assert len(many_lines.splitlines()) > len(one_line.splitlines()) == 1
    assert json.loads(many_lines) == json.loads(one_line) == {"at": "2026-01-02 00:00:00+00:00", "rows": [1, 2]}
    show(payload, False, lambda: print("text"))
    assert capsys.readouterr().out == "text\n"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_value_of_a_table_is_cut_off(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = "/" + "/".join(f"folder{depth}" for depth in range(15))
    monkeypatch.setenv("EVCHARGE_HOME", home)
    monkeypatch.setenv("COLUMNS", str(width))
    settings_command()
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) <= width
    assert "EVCHARGE_HOME" in {line.partition(" ")[0] for line in lines}
    value = slice(lines[0].index("value"), lines[0].index("meaning"))
    rows = [number for number, line in enumerate(lines) if line.startswith("EVCHARGE_")][:2]
    assert "".join(line[value].strip() for line in lines[slice(*rows)]) == home


def test_what_is_not_json_is_not_printed() -> None:
    with pytest.raises(ValueError, match="JSON"):
        show({"x": nan}, True, lambda: None)


def test_off_a_terminal_a_service_gets_a_line_for_each_thing_it_does() -> None:
    lines = StringIO()
    with Progress(PlainConsole(file=lines, width=80)) as progress:
        for doing in ("starts", "not ready yet: a", "not ready yet: b", "ready"):
            progress("kafka", doing)
    said = [line.partition(" s  ")[2] for line in lines.getvalue().splitlines()]
    assert said == ["starts", "not ready yet: a", "ready"]


def test_waiting_ends_with_a_line_on_stderr(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[Any, ...]] = []

    def loaded(
        _: Settings, offsets: Any, days: Any, timeout_s: float, on_progress: Callable[[wait.Missing], None]
    ) -> list[date]:
        asked.append((offsets, days, timeout_s))
        on_progress(wait.Missing(unpublished_rows=3, unloaded_days=0, waited_s=500))
        return []

    monkeypatch.setattr(wait, "wait_until_loaded", loaded)
    wait_for_warehouse(settings, {"topic": {0: 7}}, {date(2026, 1, 2)}, 600)
    assert asked == [({"topic": {0: 7}}, {date(2026, 1, 2)}, 600)]
    output = capsys.readouterr()
    assert (output.out, output.err.splitlines()[-1]) == ("", "the warehouse has them")

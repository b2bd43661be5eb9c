"""Whatever data, settings, servers and users contain is shown as it is: nothing of it styles or steers the terminal."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import types
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from enum import Enum
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from evcharge.audit.reconcile import Reconciliation
from evcharge.audit.trace import Trace
from evcharge.cli import app as commands
from evcharge.cli import (
    audit,
    configuration,
    forecast,
    lake,
    live,
    queries,
    recorded,
    reference,
    registry,
    simulate,
    stack,
    stream,
    up,
)
from evcharge.cli import trip as trip_command
from evcharge.cli.output import log_to_stderr, say
from evcharge.cli.plain_text import plain
from evcharge.cli.progress import Progress, spinner
from evcharge.cli.terminal import PlainConsole, PlainStatus, styled
from evcharge.coming import Part
from evcharge.errors import UserError
from evcharge.forecast.model import PRIOR
from evcharge.forecast.outlook import never_free
from evcharge.lake.compaction import Figures
from evcharge.lake.maintenance import Maintained
from evcharge.lake.repository import Commit
from evcharge.lake.waiting_hours import Hour
from evcharge.live.dead_letters import DeadLetter
from evcharge.live.dead_letters_retry import Retried
from evcharge.live.stream_runner import StreamProgress
from evcharge.live.stream_status import QueryStatus
from evcharge.main_job import Outcome
from evcharge.queries.availability import Station
from evcharge.queries.forecast import ForecastAnswer, ForecastQuestion
from evcharge.queries.freshness import Freshness
from evcharge.queries.nearby import NearbyAnswer, NearbyQuestion
from evcharge.queries.station import StationAnswer
from evcharge.queries.traffic import TrafficAnswer
from evcharge.queries.trip import TripAnswer, TripQuestion
from evcharge.queries.typical import DayComparison
from evcharge.recorded.fitting import Score
from evcharge.recorded.realism import markdown
from evcharge.recorded.replay import ReplayReport
from evcharge.reference.kaggle import ReferenceFile
from evcharge.reference.mongodb import Held, Upserted
from evcharge.registry.feed import LoadReport, PollReport
from evcharge.settings import PROJECT, Settings, load_settings
from evcharge.stack.preflight import Check
from evcharge.stack.stack import Stack, Status
from evcharge.trips.energy import Consumption

CLI = PROJECT / "evcharge" / "cli"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
#: Markup that rich reads and an end tag that it does not know, an emoji code, colours, a cursor at the line's begin, letters
#: from right to left, two kinds of new lines, half a character.
HOSTILE = "Bay 1 [/left] [bold] :car: \x1b[31mred\x9b31m \r\u202e\u2066 \n\u2028 \x00 \ud83d"
SHOWN = r"Bay 1 [/left] [bold] :car: \x1b[31mred\x9b31m \r\u202e\u2066 \n\u2028 \x00 \ud83d"


def test_a_text_is_shown_as_it_is() -> None:
    assert plain(HOSTILE) == SHOWN == plain(SHOWN)
    # letters of every script, and the joiners that names need
    for name in (
        "Ladesäule 3, 60 kW",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0645",
        "充电站\u3000二号",
        "👩\u200d🔧 service",
        "तेज़ चार्जर",
    ):
        assert plain(name) == name


# --- whatever is printed ---


def made(hint: Any, name: str = "") -> Any:
    """A value of a type whose texts are all hostile."""
    if (name.endswith("_at") or name == "as_of") and hint in (str, str | None):
        return NOW.isoformat()
    if name == "time_zone":
        return "UTC"
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return made(next(argument for argument in arguments if argument is not type(None)), name)
    if origin is typing.Literal:
        return arguments[0]
    if origin is tuple:
        return tuple(made(argument, name) for argument in arguments if argument is not ...)
    if origin in (Mapping, dict):
        return {made(arguments[0], name): made(arguments[1], name)}
    if origin in (list, Sequence, Iterable, set, frozenset):
        return {list: list, set: set, frozenset: frozenset}.get(origin, list)([made(arguments[0], name)])
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return made_of(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return next(iter(hint))
    simple = {str: HOSTILE, Any: HOSTILE, int: 1, float: 1.5, bool: True, datetime: NOW, date: NOW.date()}
    # what was sent is counted, not shown
    simple |= {Path: Path(HOSTILE), pa.Table: None}
    return simple[hint]


def made_of(cls: type, **given: Any) -> Any:
    hints = typing.get_type_hints(cls)
    fields = [field for field in dataclasses.fields(cls) if field.init]
    values = {f.name: given[f.name] if f.name in given else made(hints[f.name], f.name) for f in fields}
    return cls(**values)


EVENT = {
    "occurred_at": NOW,
    "event_type": HOSTILE,
    "energy_delivered_kwh": 1.5,
    "kafka_partition": 0,
    "kafka_offset": 7,
    "publication_id": HOSTILE,
}
PUBLICATION = dict.fromkeys(("publication_id", "branch", "lake_commit", "merged_at", "run_id"), HOSTILE)
REGISTRY = {
    "sources": {HOSTILE: {"current": 1, "gone": 0}},
    "snapshots": [
        {"scope": HOSTILE, "sources": [HOSTILE], "current": 1, "gone": 0, "origin": HOSTILE, "as_of": HOSTILE}
    ],
    "pending": 1,
    "last_good_copy": {"age_s": 1.0, "file": HOSTILE},
    "last_poll": {"outcome": HOSTILE, "at": HOSTILE, "detail": HOSTILE},
}
RECORDING = types.SimpleNamespace(
    rejected={HOSTILE: 2},
    rejected_rows={HOSTILE: [1]},
    rejected_details={HOSTILE: HOSTILE},
    unknown_connectors=Counter({HOSTILE: 1}),
)
PRINTERS: dict[Callable[..., None], Callable[[Settings], tuple[Any, ...]]] = {
    audit._print_verdict: lambda _: (made_of(Reconciliation), 1),
    audit._print_trace: lambda settings: (
        settings,
        made_of(Trace, events=[EVENT], publications=[PUBLICATION], fact={"evse_id": HOSTILE}),
    ),
    configuration._print_login: lambda _: (
        dict.fromkeys(("host", "port", "http_port", "user", "password", "database"), HOSTILE),
    ),
    forecast._print_forecast: lambda _: (
        ForecastAnswer(
            ForecastQuestion("s"), made_of(Freshness), made_of(Station), never_free("s", HOSTILE), PRIOR, "UTC"
        ),
    ),
    lake._print_commits: lambda _: ([made_of(Commit, metadata={"run_id": "\x1b[31m", "event_dates": '["\\u001b"]'})],),
    lake._print_lines: lambda _: ([HOSTILE],),
    lake._print_maintained: lambda _: (Maintained({HOSTILE: Figures()}, {Hour(HOSTILE, HOSTILE): HOSTILE}),),
    live._print_letters: lambda _: ([made_of(DeadLetter, record="{}")],),
    live._print_retried: lambda _: (Retried([], [made_of(DeadLetter)], [made_of(DeadLetter)]),),
    queries._print_nearby: lambda _: (made_of(NearbyAnswer, question=NearbyQuestion(1.0, 1.0, 1.0)),),
    queries._print_station: lambda _: (made_of(StationAnswer),),
    queries._print_traffic: lambda _: (made_of(TrafficAnswer),),
    trip_command._print_trip: lambda _: (
        made_of(TripAnswer, question=TripQuestion(HOSTILE, HOSTILE, HOSTILE, 50.0), consumption=Consumption(20.0)),
    ),
    queries._print_day: lambda _: (made_of(DayComparison),),
    queries._print_heading: lambda _: (made_of(Station), NOW),
    queries._print_end: lambda _: (HOSTILE, made_of(StationAnswer).fresh),
    recorded._print_report: lambda _: (made_of(ReplayReport), RECORDING),
    recorded.print_dropped: lambda _: (RECORDING,),
    recorded._print_score: lambda _: (made_of(Score),),
    reference._print_held: lambda _: ([made_of(Held)],),
    reference._print_bundled: lambda _: ({HOSTILE: Upserted()},),
    reference._print_loaded: lambda _: ([(made_of(ReferenceFile, rows=[{}]), Upserted())], True),
    registry._print_status: lambda _: (REGISTRY,),
    registry._print_poll: lambda _: (made_of(PollReport, load=None),),
    registry._print_load: lambda _: (made_of(LoadReport),),
    registry._print_problems: lambda _: (HOSTILE, made_of(LoadReport).rejected),
    stack.print_checks: lambda _: ([made_of(Check)],),
    stack._print_coming: lambda _: ([made_of(Part)],),
    stack._print_status: lambda _: (Left(), [made_of(Status), made_of(Status, healthy=False)]),
    stream._print: lambda _: (StreamProgress(statuses={HOSTILE: made_of(QueryStatus)}, hours={HOSTILE: {0: 1}}),),
    up._print_outcome: lambda _: (made_of(Outcome),),
}
#: They print figures, and paths and settings of the platform itself.
PRINT_NO_DATA = {
    forecast._print_horizons,
    forecast._print_recorded_score,
    forecast._print_score,
    simulate._print_result,
    simulate._print_day,
    recorded._print_taken,
    stack.print_left_out,
    up._print_links,
}
#: No name fits into their output.
SHOW_NO_NAME = {recorded._print_score, queries._print_day, up._print_outcome, audit._print_verdict}


class Left:
    """A stack that is whole."""

    settings = load_settings(profile="small")

    def left_out(self) -> list[str]:
        return []


def steers(printed: str) -> str:
    """The characters of what was printed that steer a terminal."""
    return "".join(char for char in printed if plain(char) != char and char != "\n")


@pytest.mark.parametrize("printer", PRINTERS, ids=lambda function: f"{function.__module__}.{function.__name__}")
def test_what_a_command_prints_is_shown_as_it_is(
    printer: Callable[..., None],
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "1500")
    printer(*PRINTERS[printer](settings))
    printed = capsys.readouterr().out
    assert steers(printed) == ""
    if printer not in SHOW_NO_NAME:
        assert SHOWN in printed or printer is lake._print_commits, printed


def test_every_printer_is_tried() -> None:
    modules = {path.stem: importlib.import_module(f"evcharge.cli.{path.stem}") for path in CLI.glob("[!_]*.py")}
    printers = {
        function
        for module in modules.values()
        for name, function in vars(module).items()
        if name.startswith(("_print", "print_")) and function.__module__ == module.__name__
    }
    assert printers - PRINTERS.keys() - PRINT_NO_DATA - {modules["output"].print_table} == set()


def test_settings_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1500")
    monkeypatch.setenv("EVCHARGE_LAKE_REPOSITORY", "[/left] \x1b[31m")
    printed = CliRunner().invoke(commands.app, ["settings"])
    assert printed.exit_code == 0, printed
    assert r"[/left] \x1b[31m" in printed.output


def test_an_error_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise UserError(HOSTILE.replace("\n", ""))

    monkeypatch.setattr(commands, "app", fails)
    with pytest.raises(SystemExit):
        commands.main()
    printed = capsys.readouterr().err
    assert printed == f"evcharge: {SHOWN.replace(chr(92) + 'n', '')}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["\x1b[31m"],
        ["lake", "\x1b[31m"],
        ["simulate", "--\x1b[31m"],
        ["simulate", "--dirty", "\x1b[31m=1"],
        ["up", "\x1b[31m"],
    ],
    ids=" ".join,
)
def test_an_error_about_what_was_typed_shows_it_as_it_is(arguments: list[str]) -> None:
    printed = CliRunner().invoke(commands.app, arguments)
    assert printed.exit_code == 2
    assert steers(printed.output) == ""
    assert r"\x1b" in printed.output


def test_progress_is_shown_as_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1500")
    lines = StringIO()
    with Progress(PlainConsole(file=lines, width=1500)) as progress:
        progress(HOSTILE, HOSTILE)
    table = StringIO()
    PlainConsole(file=table, width=1500).print(progress._table())
    with spinner(HOSTILE) as status:
        assert isinstance(status, PlainStatus)
        status.say(HOSTILE)
    for printed in (lines.getvalue(), table.getvalue(), str(status.status)):
        assert SHOWN in printed
        assert steers(printed) == ""


def test_a_style_is_ours_alone() -> None:
    printed = StringIO()
    console = PlainConsole(file=printed, width=200)
    console.print(styled(HOSTILE, "red"))
    console.print(HOSTILE)
    assert printed.getvalue() == f"{SHOWN}\n{SHOWN}\n"


def test_logs_show_their_values_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    import structlog

    before = structlog.get_config()
    try:
        log_to_stderr()
        log_to_stderr()
        structlog.get_logger().warning("refused", reason="\x1b]0;title\x07")
    finally:
        structlog.configure(**before)
    assert r"\x1b]0;title\x07" in capsys.readouterr().err


def test_a_servers_log_is_shown_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own colours are left out, whatever else would steer the terminal is shown."""
    monkeypatch.setenv("EVCHARGE_HOME", str(tmp_path))
    log = Stack(load_settings()).log("kafka")
    log.parent.mkdir(parents=True)
    log.write_bytes(b"\x1b[34mINFO\x1b[0m \x1b]0;title\x07 \xff\nnext\n")
    printed = CliRunner().invoke(commands.app, ["stack", "logs", "kafka"])
    assert printed.output == "INFO \\x1b]0;title\\x07 \\xff\nnext\n"


def test_a_document_of_somebodys_names_stays_a_table() -> None:
    from evcharge.recorded.fitting import DISTRIBUTIONS, Days
    from evcharge.recorded.realism import CORRELATIONS, DISPERSION, RealismRow
    from simulation.comparison import Interval

    interval = Interval(1.0, 0.0, 2.0)
    score = Score(
        Days.EVEN, 1, dict.fromkeys(DISTRIBUTIONS, (0.1, 0.2)), dict.fromkeys((*CORRELATIONS, DISPERSION), interval), {}
    )
    lines = markdown([RealismRow("a|b `c` <script>\n| [x](y)", Days.ODD, score)]).splitlines()
    assert len(lines) == 3
    assert lines[2].startswith(r"| a\|b \`c\` \<script\> \| \[x\](y) |")


# --- whatever may be added ---

#: What may print, and what rich reads markup with, only where strings are made plain.
ONLY_IN = {
    "typer.echo": {"output"},
    "typer.secho": set(),
    "typer.confirm": {"output"},
    "typer.prompt": set(),
    "print": set(),
    "Console": set(),
    "rich.print": set(),
    "Text.from_markup": set(),
}
IMPORTED_ONLY_IN = {
    "rich.console": {"terminal"},
    "rich.status": {"terminal"},
    "rich.markup": set(),
    "rich.panel": set(),
}


@pytest.mark.parametrize("path", sorted(CLI.glob("*.py")), ids=lambda path: path.stem)
def test_a_command_prints_by_one_way_only(path: Path) -> None:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call | ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if path.stem not in ONLY_IN.get(called, {path.stem}):
                found.append(f"line {node.lineno} calls {called}")
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found += [
            f"line {node.lineno} imports {name}"
            for name in names
            if path.stem not in IMPORTED_ONLY_IN.get(name, {path.stem})
        ]
    assert found == []


def test_say_prints_each_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("one", HOSTILE)
    say("two", err=True)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (f"one\n{SHOWN}\n", "two\n")

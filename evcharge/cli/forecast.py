"""`evcharge forecast`: whether an outlet will be free later, and how good such forecasts have been."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer
from typer.core import TyperGroup

from evcharge.cli.options import AsJson
from evcharge.cli.output import plain_table, print_table, say, show

if TYPE_CHECKING:
    from evcharge.queries.forecast import ForecastAnswer

Publish = Annotated[
    bool, typer.Option("--publish", hidden=True, help="Write the score into docs/forecast.md and the package.")
]

#: The command that a station's id alone means.
_STATION = "station"

_HELP = """
Say whether an outlet will be free when you get there, or score such forecasts.

- **A station:** `evcharge forecast STATION` asks the running platform. STATION is an id, as `evcharge nearby` shows it. The
  word `station` may stand before it.

- **The score:** `evcharge forecast score FILE` fits the model on recorded changes of any charging sites, and scores it on what
  came later. It needs no server.

Try it: `evcharge forecast syn-90000227 --in 30m --connector CCS`
"""


class _StationOrScore(TyperGroup):
    """Commands of which one need not be named: what is no command is a station's id, or an option of that command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [_STATION, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_StationOrScore,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    subcommand_metavar="[STATION | score FILE] [OPTIONS]",
    help=_HELP,
)


@app.command(name=_STATION)
def station(
    station_id: Annotated[
        str, typer.Argument(metavar="STATION", help="A station's id, as `evcharge nearby` shows it.")
    ],
    in_text: Annotated[
        str | None,
        typer.Option("--in", metavar="TIME", help="Only the time in so long: 30m, 2h, 1h30m, up to 4h."),
    ] = None,
    connector: Annotated[
        str | None, typer.Option(help="A connector type, e.g. CCS, NACS, CHAdeMO, Type 1, J1772COMBO.")
    ] = None,
    min_power_kw: Annotated[
        float | None, typer.Option("--min-power-kw", help="The least power of an outlet, kW.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how probable it is that a fitting outlet is free later, and how long a driver will wait.

    Without --in it shows the next four hours. docs/forecast.md says how it is computed and how good it is.

    Try it: evcharge forecast syn-90000227 --in 30m --connector CCS
    """
    from evcharge.queries.client import Queries
    from evcharge.queries.forecast import ForecastQuestion, minutes_of
    from evcharge.settings import load_settings

    in_minutes = None if in_text is None else minutes_of(in_text)
    question = ForecastQuestion(station_id, in_minutes, connector, min_power_kw)
    with Queries(load_settings()) as queries:
        answer = queries.forecast(question)
    show(answer.to_json(), as_json, lambda: _print_forecast(answer))


@app.command()
def score(
    events: Annotated[
        Path,
        typer.Argument(metavar="EVENTS.csv[.gz]", help="Changes of sites: site, observed_at, available, total."),
    ],
    train_until: Annotated[
        str,
        typer.Option(metavar="DATE", help="The model learns from what was before this date (UTC), e.g. 2025-07-01."),
    ],
    time_zone: Annotated[
        str, typer.Option(help="The sites' own IANA time zone, e.g. Europe/Berlin. Times in the file are UTC.")
    ] = "UTC",
    unseen: Annotated[
        bool, typer.Option("--unseen", help="Forecast every site by a model that learned from the other sites only.")
    ] = False,
    as_json: AsJson = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the table in Markdown.")] = False,
    publish: Publish = False,
) -> None:
    """Fit the forecast on recorded changes of charging sites, and score it on what came after a date. It needs no server.

    A row of the file is a change: at observed_at (UTC) so many points of a site were available, of so many that answered. A
    total of 0 and a gap of over three days mean that nothing is known. Every 20 minutes the command asks whether at least one
    point will be free in 10, 30, 60 and 120 minutes, knowing only what was before.

    Skill is what is saved of the squared error of "no change". ECE is how far probabilities are from what came true. "Full now"
    counts only times at which nothing was free.

    Try it: evcharge forecast score events.csv.gz --train-until 2025-07-01 --time-zone Europe/Berlin
    """
    from evcharge.cli.progress import Progress
    from evcharge.errors import UserError
    from evcharge.forecast.change_events import read_change_events
    from evcharge.forecast.published import markdown
    from evcharge.forecast.published import publish as publish_score
    from evcharge.forecast.scoring import score_events, score_unseen_sites

    try:
        until_at = datetime.fromisoformat(train_until)
    except ValueError:
        raise UserError(f"--train-until {train_until!r} is no date: write 2025-07-01") from None
    until_at = until_at.replace(tzinfo=UTC) if until_at.tzinfo is None else until_at
    with Progress() as progress:
        progress("events", "reading")
        held = read_change_events(events, time_zone, lambda rows: progress("events", f"reading: {rows:,} rows"))
        progress("events", "ready")
        scored = score_unseen_sites if unseen else score_events
        report = scored(held.sites, until_at, on_progress=lambda doing: progress("model", doing))
        progress("model", "ready")
    found = report.to_json() | {"rows": held.rows, "rows_left_out": dict(held.left_out)}
    if held.left_out:
        counts = ", ".join(f"{reason} {count:,}" for reason, count in held.left_out.most_common())
        say(f"{held.left_out.total():,} of {held.rows:,} rows were left out ({counts})", *held.examples, err=True)
    if publish:
        made_by = f"evcharge forecast score {events.name} --train-until {train_until} --time-zone {time_zone}"
        publish_score("recordings", found, made_by + (" --unseen" if unseen else ""))
    if as_markdown and not as_json:
        say(*markdown(found).split("\n"))
        return
    show(found, as_json, lambda: _print_recorded_score(found))


@app.command()
def simulated(
    stations: Annotated[int, typer.Option(min=1, help="Stations of the built-in network.")] = 200,
    days: Annotated[float, typer.Option(min=0.5, help="Simulated days.")] = 28.0,
    tested_days: Annotated[float, typer.Option(min=0.1, help="The last days, which are forecast.")] = 7.0,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal scores.")] = 7,
    as_json: AsJson = False,
    publish: Publish = False,
) -> None:
    """Score the forecast of stations on the simulator's truth. It needs no server.

    Simulates, learns from the first days, and forecasts the last ones with what was known at each instant. The forecast gets
    finished sessions, as from the warehouse, and nothing else of the simulation.

    Try it: evcharge forecast simulated --stations 50 --days 10 --tested-days 3
    """
    from rich.progress import TaskProgressColumn

    from evcharge.cli.progress import progress_bar
    from evcharge.forecast.published import publish as publish_score
    from evcharge.simulated.forecast_score import score_simulated

    with progress_bar("simulating", days * 86_400, TaskProgressColumn()) as advance:
        score = score_simulated(stations, days, seed, tested_days, lambda done: advance(done.total_seconds()))
    if publish:
        publish_score(
            "simulation",
            score.to_json(),
            f"evcharge forecast simulated --stations {stations} --days {days:g} --tested-days {tested_days:g} --seed {seed}",
        )
    show(score.to_json(), as_json, lambda: _print_score(score.to_json()))


def _print_recorded_score(score: dict[str, Any]) -> None:
    sites = score["tested_sites"]
    new = f", {len(score['unseen_sites'])} of them new to the model" if score["unseen_sites"] else ""
    say(
        f"learned from {score['trained_samples']:,} samples of {score['trained_sites']} sites before "
        f"{score['trained_until_at'][:10]}, forecast {len(sites)} sites{new} until {score['tested_until_at'][:10]}"
    )
    _print_horizons(score)


def _print_score(score: dict[str, Any]) -> None:
    say(
        f"{score['stations']} simulated stations, {score['sessions']:,} sessions: learned from {score['trained_days']:g} days, "
        f"forecast {score['tested_days']:g} days"
    )
    _print_horizons(score)


def _print_horizons(score: dict[str, Any]) -> None:
    def figure(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    table = plain_table("ahead", "samples", "skill", "ECE", "Brier", "no change", "usual", "full now", "no change")
    for column in table.columns:
        column.justify = "right"
    for horizon in score["horizons"]:
        table.add_row(
            f"{horizon['minutes']} min",
            f"{horizon['samples']:,}",
            figure(horizon["brier_skill"], ".1%"),
            figure(horizon["ece"], ".4f"),
            figure(horizon["brier"], ".5f"),
            figure(horizon["brier_persistence"], ".5f"),
            figure(horizon["brier_climatology"], ".5f"),
            figure(horizon["brier_full_now"], ".3f"),
            figure(horizon["brier_persistence_full_now"], ".3f"),
        )
    print_table(table)
    say("skill: errors saved against no change; usual: the site's share of that hour; full now: when all was taken")


#: Width of a bar, in characters.
_BAR = 10


def _print_forecast(answer: ForecastAnswer) -> None:
    found = answer.to_json()
    station = answer.station
    name = station.station_name or station.station_id
    fitting = " fitting" if found["connector_type"] or found["min_power_kw"] else ""
    now = station.availability.value.replace("_", " ")
    say(f"{name} ({station.station_id}): {found['outlets']}{fitting} outlets, {now} now")
    if found["note"]:
        say(found["note"])
    table = plain_table("in", "at", "free", "", "range", "outlets", "wait")
    for number in (0, 2, 4, 5, 6):
        table.columns[number].justify = "right"
    zone = ZoneInfo(answer.time_zone)
    for point in found["points"]:
        wait_s, chance = point["expected_wait_s"], point["probability_free"]
        local = datetime.fromisoformat(point["at"]).astimezone(zone)
        table.add_row(
            f"{point['in_min']:g} min",
            f"{local:%H:%M}",
            f"{chance:.0%}",
            "#" * round(chance * _BAR),
            f"{100 * point['low']:.0f}-{point['high']:.0%}",
            f"{point['expected_free']:.1f}",
            "" if wait_s is None else f"{wait_s / 60:.0f} min",
        )
    print_table(table)
    say(f"times are local, {answer.time_zone}; the state is {_age(found['age_s'])}")
    say(f"learned from {found['source']}")
    say(_score_line(found["score"]))


def _age(age_s: float | None) -> str:
    return "of unknown age" if age_s is None else f"{age_s:.0f} s old"


def _score_line(score: dict[str, Any] | None) -> str:
    if score is None:
        return "score: none yet, it takes two days of loaded sessions"
    parts = [
        f"{horizon['brier_skill']:.0%} at {horizon['minutes']} min"
        for horizon in score["horizons"]
        if horizon["brier_skill"] is not None
    ]
    worst = max(horizon["ece"] for horizon in score["horizons"])
    return f"score: errors saved against no change {', '.join(parts)}; calibration error at most {worst:.3f}"

"""`evcharge simulate`: simulated charging, as fast as possible into files and figures, or as the platform's feed."""

from __future__ import annotations

import json
import signal
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evcharge.cli.options import AsJson
from evcharge.cli.output import log_to_stderr, say, show

if TYPE_CHECKING:
    from evcharge.simulated.live_feed import FeedReport
    from evcharge.simulated.offline_run import Result
    from simulation.dirt import DirtRates
    from simulation.profile import SiteProfile

_SECONDS = {"h": 3600, "d": 86_400}
#: A century: longer than anybody simulates, short enough that no time leaves the calendar.
MAX_DAYS = 36_525
FIRST_YEAR, LAST_YEAR = 1970, 2200
#: Seeds are hashed as signed 64-bit numbers.
MAX_SEED = 2**63 - 1

app = typer.Typer(no_args_is_help=True, invoke_without_command=True)


@app.callback()
def simulate(
    context: typer.Context,
    stations: Annotated[
        int, typer.Option(min=1, help="Stations of the built-in network, or the most that --registry gives.")
    ] = 500,
    vehicles: Annotated[int | None, typer.Option(min=1, help="Cars, by default ten for each station.")] = None,
    days: Annotated[float, typer.Option(min=0.01, max=MAX_DAYS, help="Simulated days.")] = 7.0,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Equal seeds give equal events.")] = 7,
    profile: Annotated[
        str | None,
        typer.Option(help="Simulate one site: a file of `evcharge fit`, or campus, dc_fast, public or residential."),
    ] = None,
    registry: Annotated[
        Path | None, typer.Option(help="Take the stations from an AFDC download, .csv or .json.")
    ] = None,
    evses: Annotated[
        int | None, typer.Option(min=1, help="With --profile: this many EVSEs instead of its own.")
    ] = None,
    power_kw: Annotated[float | None, typer.Option(min=0.5, help="With --profile: the power of each EVSE, kW.")] = None,
    start: Annotated[
        str, typer.Option(help="First day, YYYY-MM-DD. It is a UTC day or, with --profile, a local one.")
    ] = "2026-01-05",
    resume_at: Annotated[
        str | None,
        typer.Option(help="Save after this time (84h, 3.5d) and continue in a new process. The events are the same."),
    ] = None,
    dirty: Annotated[
        str | None,
        typer.Option(
            help="Faults on the way, e.g. late=0.01,duplicate=0.005, or `default`. The files `injected` of --out list each."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write sessions.parquet, events, ledger and state to.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="The HTML page to write, with charts of the result.")] = None,
    compare: Annotated[
        list[Path] | None, typer.Option(help="With --report: recorded sessions of a site to compare with.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Simulate charging: a network of stations and cars whose events are those that real chargers would send.

    Without `day` or `live` nothing is sent. The simulation runs as fast as it can and prints its figures.

    Try it: evcharge simulate --stations 100 --days 2 --report simulation.html
    """
    log_to_stderr()
    if context.invoked_subcommand is not None:
        return
    from datetime import UTC, datetime

    from rich.progress import TaskProgressColumn

    from evcharge.cli.progress import progress_bar
    from evcharge.simulated.offline_run import Scenario
    from evcharge.simulated.offline_run import simulate as run
    from simulation import ALL_SERVED

    if compare and report is None:
        raise typer.BadParameter(
            "recorded sessions are compared in a report, so give --report as well", param_hint="--compare"
        )
    if profile is None and (evses or power_kw):
        raise typer.BadParameter("EVSEs and their power can be set only with --profile", param_hint="--evses")
    if profile is not None and registry is not None:
        raise typer.BadParameter(
            "a profile describes one site, so give only one of --profile and --registry", param_hint="--registry"
        )
    try:
        start_at = datetime.fromisoformat(start).replace(tzinfo=UTC)
    except ValueError:
        raise typer.BadParameter(f"{start!r} is not a day such as 2026-01-05", param_hint="--start") from None
    if not FIRST_YEAR <= start_at.year <= LAST_YEAR:
        raise typer.BadParameter(f"{start!r} is not between {FIRST_YEAR} and {LAST_YEAR}", param_hint="--start")
    scenario = Scenario(
        seed,
        stations,
        vehicles,
        None if profile is None else _profile(profile, evses, power_kw),
        registry,
        start_at,
        # with plugs of another number a recorded visit may find none
        behaviour=ALL_SERVED if profile is not None and evses is None else None,
        dirt=_dirt(dirty),
    )
    duration = timedelta(days=days)
    resume = _duration(resume_at, "--resume-at")
    with progress_bar("simulating", duration.total_seconds(), TaskProgressColumn()) as advance:
        result = run(
            scenario, duration, resume_at=resume, out=out, on_progress=lambda done: advance(done.total_seconds())
        )
    if report is not None:
        _report(report, result, compare or [])
    show(result.to_json(), as_json, lambda: _print_result(result, out, report), indent=None)


def _profile(name: str, evses: int | None, power_kw: float | None) -> SiteProfile:
    from dataclasses import replace

    from evcharge.errors import UserError
    from simulation.profile import SHIPPED, ProfileError, SiteProfile, shipped

    try:
        profile = shipped(name) if name in SHIPPED else SiteProfile.from_json(json.loads(Path(name).read_text()))
    except FileNotFoundError:
        raise UserError(f"{name} is not a file and not one of the shipped profiles: {', '.join(SHIPPED)}") from None
    except (ProfileError, ValueError, AttributeError, OSError) as error:
        raise UserError(f"{name}: not a profile of `evcharge fit`: {error}") from error
    return replace(profile, evses=evses or profile.evses, power_kw=power_kw or profile.power_kw)


def _dirt(text: str | None) -> DirtRates | None:
    from simulation.dirt import DirtRates

    if text is None:
        return None
    try:
        return DirtRates() if text == "default" else DirtRates.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--dirty") from None


def _duration(text: str | None, option: str) -> timedelta | None:
    if text is None:
        return None
    try:
        return timedelta(seconds=float(text[:-1]) * _SECONDS[text[-1:]])
    except (ValueError, KeyError, OverflowError):
        raise typer.BadParameter(f"{text!r} is not a time such as 84h or 3.5d", param_hint=option) from None


def _report(path: Path, result: Result, compare: list[Path]) -> None:
    from evcharge.recorded.readers import ANY_YEAR, read_sessions
    from evcharge.simulated.report import RealSite, SimulatedRun, write_report
    from simulation.network import SiteKind

    stations = {s.station_id: (s.site_kind.value, len(s.evses), s.time_zone) for s in result.network.stations}
    kinds = {kind for kind, _, _ in stations.values()}
    real = []
    for file in compare:
        recording = read_sessions(file, first_day=ANY_YEAR)
        # One simulated site is compared as its own kind. In a network, DC fast goes with DC fast, the rest with workplaces.
        is_dc = any(evse["power_kw"] and evse["power_kw"] > 22 for s in recording.stations for evse in s["evses"])
        kind = SiteKind.DC_FAST if is_dc else SiteKind.WORKPLACE
        real.append(RealSite.of(SiteKind(next(iter(kinds))) if len(kinds) == 1 else kind, recording))
    run = SimulatedRun(
        result.sessions,
        stations,
        result.start_at,
        result.end_at,
        result.scenario.seed,
        result.abandoned,
        result.totals.balked,
    )
    write_report(path, run, real)


def _print_result(result: Result, out: Path | None, report: Path | None) -> None:
    figures = result.to_json()
    say(
        f"simulated {result.start_at:%Y-%m-%d %H:%M} to {result.end_at:%Y-%m-%d %H:%M} UTC, {figures['stations']:,} stations: "
        f"{figures['sessions']:,} sessions, {figures['energy_kwh']:,.1f} kWh, {figures['events']:,} events"
    )
    say(
        f"{figures['visits']:,} visits: {figures['queued']:,} queued ({figures['abandoned']:,} gave up), "
        f"{figures['balked']:,} drove on at once, {figures['rerouted']:,} to another station; "
        f"{figures['failed_starts']:,} failed starts"
    )
    for kind, share in figures["utilisation"].items():
        say(f"  plugged in, {kind.replace('_', ' ')}: {share:.1%} of the time")
    for fault, count in figures.get("injected", {}).items():
        say(f"  injected, {fault.replace('_', ' ')}: {count:,}")
    say(
        f"{figures['wall_s']:.1f} s, {figures['events_per_s']:,} events/s, {figures['peak_memory_mb']:,.0f} MB; "
        f"ledger hash {figures['ledger_hash']}"
    )
    for path in filter(None, (out, report)):
        say(f"see {path}")


@app.command()
def day(as_json: AsJson = False) -> None:
    """Publish the first simulated day: stations, the sessions of the 24 hours ending now, the cars' last hour.

    A platform has one first day. If it was interrupted, it is completed. EVCHARGE_SIMULATION_STATIONS,
    EVCHARGE_SIMULATION_VEHICLES and EVCHARGE_SIMULATION_SEED set the stations, the cars and the seed before it begins.
    """
    from datetime import UTC, datetime

    from evcharge.settings import load_settings
    from evcharge.simulated.live_feed import simulate_day

    settings = load_settings()
    report = simulate_day(settings, datetime.now(UTC))
    show(report.to_json(), as_json, lambda: _print_day(report), indent=None)


def _print_day(report: FeedReport) -> None:
    from evcharge.contracts import SESSION_EVENTS, VEHICLE_TELEMETRY

    events, telemetry = report.totals[SESSION_EVENTS.topic], report.totals[VEHICLE_TELEMETRY.topic]
    say(
        f"{'was simulated already' if report.already_simulated else 'simulated'}: "
        f"{report.simulated_from:%Y-%m-%d %H:%M} to {report.simulated_until:%Y-%m-%d %H:%M} UTC",
        f"{report.stations} stations, {events.sessions:,} finished sessions, "
        f"{events.energy_wh / 1000:,.3f} kWh, {events.messages:,} events, "
        f"{telemetry.messages:,} messages of cars from the last hour",
    )


@app.command()
def live(
    speed: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Simulated seconds per second, never ahead of the clock. By default missed time is made up at once.",
        ),
    ] = None,
) -> None:
    """Feed at wall-clock speed until stopped (Ctrl-C or SIGTERM), and continue where the feed was left.

    A kill, a sleeping machine or a Kafka that is down loses nothing and changes no id. The platform's supervisor runs this
    command. Only one process at a time can feed.
    """
    from evcharge.settings import load_settings
    from evcharge.simulated.live_feed import run_live

    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    run_live(load_settings(), stop, speed=speed)

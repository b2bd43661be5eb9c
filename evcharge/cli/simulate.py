"""`evcharge simulate`: simulated charging, as fast as possible into files and figures, or as a feed of the platform."""

from __future__ import annotations

import json
import signal
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from evcharge.simulated.offline_run import Result
    from simulation.dirt import DirtRates
    from simulation.profile import SiteProfile

_SECONDS = {"h": 3600, "d": 86_400}

app = typer.Typer(
    no_args_is_help=True,
    invoke_without_command=True,
    help="Simulated charging: a network of stations and cars whose events are those that real chargers would send.",
)


@app.callback()
def simulate(
    context: typer.Context,
    stations: Annotated[
        int, typer.Option(min=1, help="Stations of the built-in network, or at most of --registry.")
    ] = 500,
    vehicles: Annotated[int | None, typer.Option(min=1, help="Cars; ten for each station by default.")] = None,
    days: Annotated[float, typer.Option(min=0.01, help="Simulated days.")] = 7.0,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal events.")] = 7,
    profile: Annotated[
        str | None,
        typer.Option(help="Simulate one site: a file of `evcharge fit`, or campus, dc_fast, public, residential."),
    ] = None,
    registry: Annotated[Path | None, typer.Option(help="Stations of an AFDC download, .csv or .json, instead.")] = None,
    evses: Annotated[int | None, typer.Option(min=1, help="With --profile: so many EVSEs instead of its own.")] = None,
    power_kw: Annotated[float | None, typer.Option(min=0.5, help="With --profile: power of each EVSE, kW.")] = None,
    start: Annotated[str, typer.Option(help="First day, YYYY-MM-DD: UTC, of a profile local.")] = "2026-01-05",
    resume_at: Annotated[
        str | None, typer.Option(help="Save after so long (84h, 3.5d) and go on in a new process: the same events.")
    ] = None,
    dirty: Annotated[
        str | None,
        typer.Option(help="Faults on the way, as late=0.01,duplicate=0.005, or `default`; the ledger says which."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A folder for sessions.parquet, events, ledger and state.")] = None,
    report: Annotated[Path | None, typer.Option(help="An HTML page that shows what came out.")] = None,
    compare: Annotated[
        list[Path] | None, typer.Option(help="With --report: recorded sessions of a site to stand beside it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Simulated charging: a network of stations and cars whose events are those that real chargers would send.

    Without `day` or `live` nothing is sent: the simulation runs as fast as it can and tells its figures.

    Try it: evcharge simulate --stations 100 --days 2 --report simulation.html
    """
    import structlog

    # Logs go to stderr: stdout is for the figures, which may be JSON.
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    if context.invoked_subcommand is not None:
        return
    from datetime import UTC, datetime

    from rich.progress import TaskProgressColumn

    from evcharge.cli.progress_bar import progress_bar
    from evcharge.simulated.offline_run import Scenario
    from evcharge.simulated.offline_run import simulate as run

    if compare and report is None:
        raise typer.BadParameter(
            "recorded sessions are compared in a report: give --report as well", param_hint="--compare"
        )
    if profile is None and (evses or power_kw):
        raise typer.BadParameter("EVSEs are those of the network unless there is a --profile", param_hint="--evses")
    if profile is not None and registry is not None:
        raise typer.BadParameter(
            "a profile is of one site: give one of --profile and --registry", param_hint="--registry"
        )
    try:
        start_at = datetime.fromisoformat(start).replace(tzinfo=UTC)
    except ValueError:
        raise typer.BadParameter(f"{start!r} is no day as 2026-01-05", param_hint="--start") from None
    scenario = Scenario(
        seed,
        stations,
        vehicles,
        None if profile is None else _profile(profile, evses, power_kw),
        registry,
        start_at,
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
    if as_json:
        typer.echo(json.dumps(result.to_json()))
    else:
        _print(result, out, report)


def _profile(name: str, evses: int | None, power_kw: float | None) -> SiteProfile:
    from dataclasses import replace

    from evcharge.errors import UserError
    from simulation.profile import SHIPPED, ProfileError, SiteProfile, shipped

    try:
        profile = shipped(name) if name in SHIPPED else SiteProfile.from_json(json.loads(Path(name).read_text()))
    except FileNotFoundError:
        raise UserError(f"{name} is no file, and none of the shipped profiles: {', '.join(SHIPPED)}") from None
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
    except (ValueError, KeyError):
        raise typer.BadParameter(f"{text!r} is no time as 84h or 3.5d", param_hint=option) from None


def _report(path: Path, result: Result, compare: list[Path]) -> None:
    from evcharge.recorded.readers import ANY_YEAR, read_sessions
    from evcharge.simulated.report import RealSite, SimulatedRun, write_report
    from simulation.network import SiteKind

    stations = {s.station_id: (s.site_kind.value, len(s.evses), s.time_zone) for s in result.network.stations}
    kinds = {kind for kind, _, _ in stations.values()}
    real = []
    for file in compare:
        recording = read_sessions(file, first_day=ANY_YEAR)
        # A simulated site is compared as what it is; in a network DC fast with DC fast, and others as a campus.
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


def _print(result: Result, out: Path | None, report: Path | None) -> None:
    told = result.to_json()
    typer.echo(
        f"simulated {result.start_at:%Y-%m-%d %H:%M} to {result.end_at:%Y-%m-%d %H:%M} UTC, {told['stations']:,} stations: "
        f"{told['sessions']:,} sessions, {told['energy_kwh']:,.1f} kWh, {told['events']:,} events"
    )
    typer.echo(
        f"{told['visits']:,} visits: {told['queued']:,} queued ({told['abandoned']:,} gave up), "
        f"{told['balked']:,} drove on at once, {told['rerouted']:,} to another station; {told['failed_starts']:,} failed starts"
    )
    for kind, share in told["utilisation"].items():
        typer.echo(f"  plugged in, {kind.replace('_', ' ')}: {share:.1%} of the time")
    for fault, count in told.get("injected", {}).items():
        typer.echo(f"  injected, {fault.replace('_', ' ')}: {count:,}")
    typer.echo(
        f"{told['wall_s']:.1f} s, {told['events_per_s']:,} events/s, {told['peak_memory_mb']:,.0f} MB; "
        f"ledger hash {told['ledger_hash']}"
    )
    for path in filter(None, (out, report)):
        typer.echo(f"see {path}")


@app.command()
def day(
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Publish the first simulated day: stations, the sessions of the 24 hours ending now, the cars' last hour.

    Done once per platform; a day that was interrupted is completed. How many stations and cars, and which seed, is
    set by EVCHARGE_SIMULATION_STATIONS, EVCHARGE_SIMULATION_VEHICLES and EVCHARGE_SIMULATION_SEED before it begins.
    """
    from datetime import UTC, datetime

    from evcharge.contracts import SESSION_EVENTS, VEHICLE_TELEMETRY
    from evcharge.settings import load_settings
    from evcharge.simulated.live_feed import simulate_day

    settings = load_settings()
    report = simulate_day(settings, datetime.now(UTC))
    if as_json:
        typer.echo(json.dumps(report.as_json()))
        return
    events, telemetry = report.totals[SESSION_EVENTS.topic], report.totals[VEHICLE_TELEMETRY.topic]
    typer.echo(
        f"{'was simulated already' if report.already_simulated else 'simulated'}: "
        f"{report.simulated_from:%Y-%m-%d %H:%M} to {report.simulated_until:%Y-%m-%d %H:%M} UTC\n"
        f"{report.stations} stations, {events.sessions:,} finished sessions, "
        f"{events.energy_wh / 1000:,.3f} kWh, {events.messages:,} events, "
        f"{telemetry.messages:,} messages of cars from the last hour"
    )


@app.command()
def live(
    speed: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Simulated seconds a second, at most up to now; what was missed comes at this pace."
        ),
    ] = None,
) -> None:
    """Feed at wall-clock speed until stopped (Ctrl-C or SIGTERM), going on from where the feed was left.

    Nothing is lost or sent under another id by a kill, a sleeping machine or a Kafka that is down. The platform's
    supervisor runs this command; only one process at a time can.
    """
    from evcharge.settings import load_settings
    from evcharge.simulated.live_feed import run_live

    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    run_live(load_settings(), stop, speed=speed)

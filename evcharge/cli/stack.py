"""`evcharge stack`: the servers that the platform runs on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from evcharge.cli.options import AsJson, Yes
from evcharge.cli.output import confirm, plain_table, print_table, say, show

if TYPE_CHECKING:
    from evcharge.cli.progress import Progress
    from evcharge.coming import Part
    from evcharge.stack.preflight import Check
    from evcharge.stack.stack import Stack, Status

app = typer.Typer(
    no_args_is_help=True,
    help="Bring the servers up and down, and look at them.\n\nA server whose address is set "
    "(EVCHARGE_KAFKA_BOOTSTRAP_SERVERS, EVCHARGE_MINIO_ENDPOINT, EVCHARGE_LAKEFS_ENDPOINT, EVCHARGE_CLICKHOUSE_HOST, "
    "EVCHARGE_SPARK_REMOTE, EVCHARGE_ELASTICSEARCH_URL, EVCHARGE_CASSANDRA_CONTACT_POINTS, EVCHARGE_MONGODB_HOST) is used, not "
    "started. EVCHARGE_PROFILE=small goes without the last three.",
)

_COMMAND = "`evcharge stack`"

ServiceName = Annotated[str, typer.Argument(help="A service's name, as `evcharge stack status` shows it.")]


@app.command("preflight")
def preflight_command() -> None:
    """Check this machine: what is missing for the servers, what the first start downloads and how long that takes.

    The exit code is 1 if something is missing. Each such line says what brings it.
    """
    from evcharge.settings import load_settings, require_clone
    from evcharge.stack.preflight import Verdict, preflight

    require_clone(_COMMAND)
    checks = preflight(load_settings())
    print_checks(checks)
    if any(check.verdict == Verdict.MISSING for check in checks):
        raise typer.Exit(1)


@app.command()
def up(
    only: Annotated[
        str | None, typer.Option(help="Start only these services, with commas between: --only kafka,minio.")
    ] = None,
) -> None:
    """Start the servers and wait until they are healthy.

    The first start downloads or builds them (see `evcharge stack preflight`), into a cache that all clones share. A server
    that runs already is left alone. An interrupted start can simply be repeated.
    """
    with _progress() as progress:
        stack = _stack(progress)
        stack.up(only.split(",") if only else None)
    print_left_out(stack)


@app.command()
def provision(
    only: Annotated[
        str | None, typer.Option(help="Only for these services, with commas between: --only dashboard.")
    ] = None,
) -> None:
    """Download and build what the profile's servers need. Start nothing."""
    with _progress() as progress:
        _stack(progress).provision(only.split(",") if only else None)


@app.command()
def down(
    publish: Annotated[bool, typer.Option(help="Publish what waits in Kafka before.")] = True,
) -> None:
    """Stop the servers cleanly. Their data stay.

    What waits in Kafka is published before, for at most EVCHARGE_DOWN_PUBLISH_S seconds. What is left stays in Kafka until it
    is published.
    """
    with _progress() as progress:
        stack = _stack(progress)
        left = stack.down(publish_within_s=stack.settings.down_publish_s if publish else 0)
    if left:
        say(f"Kafka may have unpublished rows, and keeps them until they are published: {left}", err=True)


@app.command()
def status(
    as_json: AsJson = False,
) -> None:
    """Show each service: version, health, port, memory; with --json its log too. The exit code is 1 if one is not healthy."""
    stack = _stack()
    found = stack.status()
    show([status.as_dict() for status in found], as_json, lambda: _print_status(stack, found))
    if not all(status.healthy for status in found):
        raise typer.Exit(1)


@app.command()
def start(service: ServiceName) -> None:
    """Start one service and wait until it is healthy."""
    with _progress() as progress:
        _stack(progress).start(service)


@app.command()
def stop(service: ServiceName) -> None:
    """Stop one service. It stays down until it is started again."""
    with _progress() as progress:
        _stack(progress).stop(service)


@app.command()
def restart(service: ServiceName) -> None:
    """Stop one service, start it again and wait until it is healthy."""
    with _progress() as progress:
        stack = _stack(progress)
        stack.stop(service)
        stack.start(service)


@app.command()
def logs(
    service: ServiceName,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of its last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep showing new lines until Ctrl-C.")] = False,
) -> None:
    """Show the end of a service's log."""
    import subprocess

    from evcharge.stack.errors import StackError

    stack = _stack()
    log = stack.log(stack.known(service).name)
    if not log.exists():
        raise StackError(f"{service} has no log yet ({log})")
    command = ["tail", "-n", str(lines), *(["-F"] if follow else []), str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="backslashreplace") as tail:
        for line in tail.stdout or ():
            # servers write their own colours into their logs
            say(re.sub(r"\x1b\[[\d;]*m", "", line.rstrip("\n")))


@app.command()
def clean(yes: Yes = False) -> None:
    """Stop the servers and remove their data, logs and credentials. What was downloaded or built stays cached."""
    stack = _stack()
    if not yes:
        confirm(f"Remove everything in {stack.settings.home}?")
    with _progress() as progress:
        stack.report = progress
        stack.clean()


def _stack(progress: Progress | None = None) -> Stack:
    from evcharge.settings import load_settings, require_clone
    from evcharge.stack.stack import Stack

    require_clone(_COMMAND)
    return Stack(load_settings(), progress) if progress else Stack(load_settings())


def _progress() -> Progress:
    from evcharge.cli.progress import Progress

    return Progress()


def print_checks(checks: list[Check]) -> None:
    """Prints the preflight: one line for each check and one for each remedy."""
    from evcharge.cli.terminal import lines, styled

    table = plain_table(show_header=False)
    style = {"ok": "green", "note": "yellow", "missing": "red"}
    for check in checks:
        found = lines(check.found, *([f"-> {check.remedy}"] if check.remedy else []))
        table.add_row(styled(check.verdict, style[check.verdict]), check.what, found)
    print_table(table)


def print_left_out(stack: Stack) -> None:
    """Prints what the platform lacks, if its profile is small."""
    from evcharge.stack.servers import missing_without

    if left_out := stack.left_out():
        say(f"profile small: {missing_without(left_out)}")


def _print_coming(parts: list[Part]) -> None:
    """Prints what of a starting platform is still to come."""
    if parts:
        say("still to come:")
        table = plain_table(show_header=False)
        for part in parts:
            table.add_row(f"  {part.what}", part.state, part.detail)
        print_table(table)


def _print_status(stack: Stack, found: list[Status]) -> None:
    from evcharge.cli.live import stream_line
    from evcharge.cli.terminal import styled
    from evcharge.coming import read_coming
    from evcharge.disk import lack_of_room

    table = plain_table("service", "healthy", "port", "memory", "version", "note")
    for status in found:
        healthy = styled("yes", "green") if status.healthy else styled("no", "red")
        memory = f"{status.memory_mb} MB" if status.memory_mb else ""
        note = status.note if status.healthy else "; ".join(filter(None, (status.detail, status.note)))
        table.add_row(status.service, healthy, str(status.port or ""), memory, status.version, note)
    print_table(table)
    print_left_out(stack)
    _print_coming(read_coming(stack.settings))
    if lack := lack_of_room(stack.settings):
        say(lack)
    if line := stream_line(stack.settings):
        say(line)

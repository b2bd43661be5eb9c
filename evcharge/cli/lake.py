"""`evcharge lake`: read the archive's history and put right what only a person can."""

from __future__ import annotations

import json
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="The raw archive in lakeFS: its publications, branches and differences.")

AsJson = Annotated[bool, typer.Option("--json", help="for programs")]
Topic = Annotated[str, typer.Argument(help="session-events or station-registry")]


@app.command()
def log(
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="how many of the newest commits")] = 20,
    topic: Annotated[str, typer.Option(help="only publications of this topic")] = "",
    as_json: AsJson = False,
) -> None:
    """List main's commits, newest first: publications with their rows, what was quarantined, and the Dagster run."""
    from itertools import islice

    from evcharge.lake.repository import Repository
    from evcharge.settings import load_settings

    commits = (c for c in Repository(load_settings()).log() if not topic or c.metadata.get("topic") == topic)
    newest = list(islice(commits, count))
    if as_json:
        rows = [
            {"commit": c.id, "message": c.message, "created_at": c.created_at.isoformat(), **c.metadata} for c in newest
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    for commit in newest:
        dates = json.loads(commit.metadata.get("event_dates", "[]"))
        days = "" if not dates else dates[0] if len(dates) == 1 else f"{dates[0]} … {dates[-1]}"
        run = commit.metadata.get("run_id", "")[:8]
        typer.echo(f"{commit.id[:12]}  {commit.created_at:%Y-%m-%d %H:%M:%S}  {run:8}  {commit.message}  {days}")


@app.command()
def branches(as_json: AsJson = False) -> None:
    """List branches: main, and the candidates that run now or were left by failed attempts."""
    from evcharge.lake.repository import Repository
    from evcharge.settings import load_settings

    found = list(Repository(load_settings()).branches())
    if as_json:
        typer.echo(json.dumps([{"branch": name, "commit": commit} for name, commit in found], indent=2))
        return
    for name, commit in found:
        typer.echo(f"{commit[:12]}  {name}")


@app.command()
def diff(
    left: Annotated[str, typer.Argument(help="branch or commit")],
    right: Annotated[str, typer.Argument(help="branch or commit")],
    as_json: AsJson = False,
) -> None:
    """List the paths that RIGHT changed against LEFT, e.g. `evcharge lake diff main ingest-…`."""
    from lakefs_sdk.exceptions import NotFoundException

    from evcharge.errors import UserError
    from evcharge.lake.repository import Repository
    from evcharge.settings import load_settings

    try:
        changes = Repository(load_settings()).diff(left, right)
    except NotFoundException as error:
        raise UserError(
            f"the lake has no {left} or no {right}; `evcharge lake branches` and `log` list them"
        ) from error
    if as_json:
        typer.echo(json.dumps([{"change": kind, "path": path} for kind, path in changes], indent=2))
        return
    for kind, path in changes:
        typer.echo(f"{kind:8} {path}")


@app.command()
def release(
    topic: Topic,
    keep_good: Annotated[
        bool, typer.Option("--keep-good", help="publish the good rows, whatever the share of bad ones")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Send a range that can not be published to quarantine, rule RELEASED, so that the topic moves on.

    A range is parked after it failed three times (EVCHARGE_PUBLISH_ATTEMPTS). Its rows are kept, as bytes, with their
    offsets; nothing is lost, but they do not reach the warehouse. If only the quarantined share stopped it, --keep-good
    publishes its good rows and quarantines the others each under its own rule.
    """
    from datetime import UTC, datetime

    from evcharge.connections import spark_session
    from evcharge.contracts import CONTRACTS
    from evcharge.errors import UserError
    from evcharge.lake.candidate import RunIdentity
    from evcharge.lake.locate import parked_range
    from evcharge.lake.publish import publish_range
    from evcharge.lake.repository import Repository
    from evcharge.settings import load_settings

    if topic not in CONTRACTS:
        raise UserError(f"{topic} is not a topic; there are {', '.join(CONTRACTS)}")
    settings = load_settings()
    repository = Repository(settings)
    parked = parked_range(repository, topic, settings.publish_attempts)
    if parked is None:
        raise UserError(
            f"{topic}: no range failed {settings.publish_attempts} times; `evcharge lake branches` lists what attempts left"
        )
    if not yes:
        fate = "its bad rows go to quarantine, the good ones to main" if keep_good else "all of them go to quarantine"
        typer.confirm(f"{parked.publication_id}, {parked.rows} rows: {fate}. Release it?", abort=True)
    accepting = settings.model_copy(update={"quarantine_share_limit": 1.0} if keep_good else {})
    run = RunIdentity(f"release-{datetime.now(UTC):%Y%m%dT%H%M%S}", "release", "command")
    published = publish_range(accepting, repository, spark_session(settings), parked, run, release=not keep_good)
    manifest = published.manifest
    typer.echo(
        f"{manifest.publication_id}: {manifest.rows_good} rows published, {manifest.rows_quarantined} in quarantine"
    )

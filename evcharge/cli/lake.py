"""`evcharge lake`: read the archive's history, and put right what only a person can decide."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from evcharge.cli.options import AsJson, Yes
from evcharge.cli.output import confirm, say, show

if TYPE_CHECKING:
    from evcharge.lake.repository import Commit

app = typer.Typer(no_args_is_help=True, help="Read the raw archive in lakeFS: its publications, branches, differences.")

Ref = Annotated[str, typer.Argument(help="A branch or a commit.")]
#: Commits show the start of their ids, as git does.
_SHORT_ID = 12


@app.command()
def log(
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many of the newest commits.")] = 20,
    topic: Annotated[str, typer.Option(help="Only publications of this topic.")] = "",
    as_json: AsJson = False,
) -> None:
    """List main's commits, newest first: publications with their rows, what was quarantined, and the Dagster run."""
    from itertools import islice

    from evcharge.contracts import CONTRACTS
    from evcharge.errors import UserError
    from evcharge.lake.repository import Repository
    from evcharge.settings import load_settings

    if topic and topic not in CONTRACTS:
        raise UserError(f"{topic} is not a topic; there are {', '.join(CONTRACTS)}")
    commits = (c for c in Repository(load_settings()).log() if not topic or c.metadata.get("topic") == topic)
    newest = list(islice(commits, count))
    rows = [
        {"commit": c.id, "message": c.message, "created_at": c.created_at.isoformat(), **c.metadata} for c in newest
    ]
    show(rows, as_json, lambda: _print_commits(newest))


@app.command()
def branches(as_json: AsJson = False) -> None:
    """List branches: main, and the candidates that run now or were left by failed attempts."""
    from evcharge.lake.repository import Repository
    from evcharge.settings import load_settings

    found = list(Repository(load_settings()).branches())
    rows = [{"branch": name, "commit": commit} for name, commit in found]
    show(rows, as_json, lambda: _print_lines(f"{commit[:_SHORT_ID]}  {name}" for name, commit in found))


@app.command()
def diff(left: Ref, right: Ref, as_json: AsJson = False) -> None:
    """List the paths that RIGHT changed against LEFT.

    Try it: evcharge lake diff main ingest-…
    """
    from lakefs_sdk.exceptions import NotFoundException

    from evcharge.errors import UserError
    from evcharge.lake.repository import Repository
    from evcharge.settings import load_settings

    try:
        changes = Repository(load_settings()).diff(left, right)
    except NotFoundException as error:
        raise UserError(
            f"the lake has no {left} or no {right}; `evcharge lake branches` and `evcharge lake log` list what it has"
        ) from error
    rows = [{"change": kind, "path": path} for kind, path in changes]
    show(rows, as_json, lambda: _print_lines(f"{kind:8} {path}" for kind, path in changes))


@app.command()
def release(
    topic: Annotated[str, typer.Argument(help="The topic: session-events, station-registry or vehicle-telemetry.")],
    keep_good: Annotated[
        bool, typer.Option("--keep-good", help="Publish the good rows, whatever the share of bad ones.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Send a range that cannot be published to quarantine, under the rule RELEASED, so that the topic moves on.

    A range is parked after it failed three times (EVCHARGE_PUBLISH_ATTEMPTS). Quarantine keeps its rows, as bytes, with their
    offsets. Nothing is lost, but the rows do not reach the warehouse.

    If only the quarantined share stopped the range, use --keep-good. It publishes the good rows, and quarantines each bad one
    under its own rule.
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
        confirm(f"{parked.publication_id}, {parked.rows} rows: {fate}. Release it?")
    accepting = settings.model_copy(update={"quarantine_share_limit": 1.0} if keep_good else {})
    run = RunIdentity(f"release-{datetime.now(UTC):%Y%m%dT%H%M%S}", "release", "command")
    published = publish_range(accepting, repository, spark_session(settings), parked, run, release=not keep_good)
    manifest = published.manifest
    say(f"{manifest.publication_id}: {manifest.rows_good} rows published, {manifest.rows_quarantined} in quarantine")


def _print_commits(commits: list[Commit]) -> None:
    for commit in commits:
        dates = json.loads(commit.metadata.get("event_dates", "[]"))
        days = "" if not dates else dates[0] if len(dates) == 1 else f"{dates[0]} … {dates[-1]}"
        run = commit.metadata.get("run_id", "")[:8]
        say(f"{commit.id[:_SHORT_ID]}  {commit.created_at:%Y-%m-%d %H:%M:%S}  {run:8}  {commit.message}  {days}")


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        say(line)

"""`evcharge lake`: read the archive's history, and put right what only a person can decide."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from evcharge.cli.options import AsJson, Yes
from evcharge.cli.output import confirm, log_to_stderr, say, show

if TYPE_CHECKING:
    from evcharge.lake.candidate import RunIdentity
    from evcharge.lake.maintenance import Maintained
    from evcharge.lake.repository import Commit

app = typer.Typer(no_args_is_help=True, help="Read the raw archive in lakeFS: its publications, branches, differences.")

Topic = Annotated[str, typer.Argument(help="The topic: session-events, station-registry or vehicle-telemetry.")]
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

    from evcharge.lake.repository import Repository
    from evcharge.settings import load_settings

    if topic:
        _require_topic(topic)
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
def publish() -> None:
    """Publish what waits in Kafka now, without waiting for more of it. Exit code 1: something still waits.

    Dagster's sensors do this by themselves every minute. It does not need Dagster, and does no harm beside it.
    """
    from evcharge.connections import spark_session
    from evcharge.lake.publish import publish_waiting
    from evcharge.lake.repository import Repository
    from evcharge.settings import load_settings

    # the lines on stdout are what `evcharge stack down` shows
    log_to_stderr()
    settings = load_settings()
    run = _run_identity("publish")
    all_done = publish_waiting(settings, Repository(settings), spark_session(settings), run, say)
    if not all_done:
        raise typer.Exit(1)


@app.command()
def release(
    topic: Topic,
    keep_good: Annotated[
        bool, typer.Option("--keep-good", help="Publish the good rows, whatever the share of bad ones.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Release whatever waits, though no range is parked and without asking Dagster."),
    ] = False,
    yes: Yes = False,
) -> None:
    """Send a range that cannot be published to quarantine, under the rule RELEASED, so that the topic moves on.

    A range is parked after it failed three times (EVCHARGE_PUBLISH_ATTEMPTS) although all servers ran. Quarantine keeps its
    rows, as bytes, with their offsets. Nothing is lost, but the rows do not reach the warehouse: `evcharge lake requeue` can
    send them again.

    If only the quarantined share stopped the range, use --keep-good. It publishes the good rows, and quarantines each bad one
    under its own rule.
    """
    from evcharge.connections import spark_session
    from evcharge.lake.parked import parked_range
    from evcharge.lake.planner import plan
    from evcharge.lake.publish import publish_range
    from evcharge.lake.repository import Repository
    from evcharge.settings import load_settings

    _require_topic(topic)
    settings = load_settings()
    repository = Repository(settings)
    parked = plan(settings, repository, topic, eager=True).range if force else parked_range(settings, repository, topic)
    if parked is None:
        say(f"{topic}: no rows wait")
        return
    if not yes:
        fate = "its bad rows go to quarantine, the good ones to main" if keep_good else "all of them go to quarantine"
        confirm(f"{parked.publication_id}, {parked.rows} rows: {fate}. Release it?")
    accepting = settings.model_copy(update={"quarantine_share_limit": 1.0} if keep_good else {})
    published = publish_range(
        accepting, repository, spark_session(settings), parked, _run_identity("release"), release=not keep_good
    )
    manifest = published.manifest
    say(f"{manifest.publication_id}: {manifest.rows_good} rows published, {manifest.rows_quarantined} in quarantine")


@app.command("accept-gap")
def accept_gap(topic: Topic, yes: Yes = False) -> None:
    """Say which rows left Kafka's log before they were published, note the loss on main, and let the topic go on.

    Planning refuses a topic with such a gap. Nothing brings these rows back, unless their producer sends them again.
    """
    from evcharge.lake.gaps import accept, find_loss
    from evcharge.lake.repository import Repository
    from evcharge.settings import load_settings

    _require_topic(topic)
    settings = load_settings()
    repository = Repository(settings)
    loss = find_loss(settings, repository, topic)
    if loss is None:
        say(f"{topic} has no gap: its log has everything that is not published")
        return
    since = f"after {loss.published_at:%Y-%m-%d %H:%M} UTC" if loss.published_at else "before anything was published"
    for gap in loss.gaps:
        begins = loss.log_begins[gap.partition]
        until = f" and before {begins:%Y-%m-%d %H:%M} UTC" if begins else ""
        say(f"{topic}-{gap.partition}: {gap.rows:,} rows, offsets {gap.first} to {gap.end - 1}, taken {since}{until}")
    if not yes:
        confirm(f"{loss.rows:,} rows are lost. Accept this and go on?")
    commit = accept(repository, loss)
    say(f"{loss.rows:,} rows are noted as lost in commit {commit[:_SHORT_ID]}; {topic} goes on")


@app.command()
def requeue(
    topic: Topic,
    rule: Annotated[str, typer.Option(help="The rule under which the rows are in quarantine.")] = "UNKNOWN_STATION",
) -> None:
    """Send rows from quarantine to Kafka again, if they keep every rule by now: their station is registered since, say.

    Rows that still break a rule stay. A row that was sent again is marked, so a second call does nothing. The copies are
    published like any other record.
    """
    from evcharge.cli.progress import spinner
    from evcharge.connections import spark_session
    from evcharge.lake.repository import Repository
    from evcharge.lake.requeue import Requeued
    from evcharge.lake.requeue import requeue as send_again
    from evcharge.settings import load_settings

    _require_topic(topic)
    settings = load_settings()
    with spinner("judging the rows in quarantine") as status:

        def update(so_far: Requeued) -> None:
            status.say(f"{so_far.sent:,} rows sent again, {so_far.kept:,} stay")

        done = send_again(settings, Repository(settings), spark_session(settings), topic, rule, update)
    say(f"{topic}: {done.sent:,} rows of {rule} sent again, {done.kept:,} still break a rule and stay")


@app.command()
def maintain(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Join the small files of ingest hours that are over into few sorted ones, so that history costs nothing to read.

    Dagster does it by itself every day (the asset lake/maintenance). The rows stay the same: they are written to a branch of
    their own, counted and compared there, and merged. Readers see an hour as it was, or as it is then. It may run beside
    publications and loads, may be killed at any time, and continues with the next call. Nothing is loaded again.

    Branches that a kill left are deleted a day after they were first seen (EVCHARGE_LEFT_BRANCH_H), unless somebody may need
    them. It begins nothing more after EVCHARGE_MAINTAIN_S seconds. Exit code 1: an hour was left as it is, because its rows
    would not have been the same.
    """
    from evcharge.cli.progress import spinner
    from evcharge.lake.maintenance import maintain as maintain_lake
    from evcharge.lake.repository import Repository
    from evcharge.settings import load_settings

    log_to_stderr()
    settings = load_settings()
    with spinner("looking for small files") as status:

        def update(so_far: Maintained) -> None:
            files = sum(figures.files_before for figures in so_far.figures.values())
            status.say(f"{files:,} files joined, {so_far.hours_left:,} hours wait")

        run = _run_identity("maintain")
        done = maintain_lake(
            settings, Repository(settings), run.run_id, dry_run=dry_run, on_progress=update, on_step=status.say
        )
    show(done.to_json(), as_json, lambda: _print_maintained(done, dry_run=dry_run))
    if done.refused:
        raise typer.Exit(1)


def _require_topic(topic: str) -> None:
    """Raises UserError if there is no such topic."""
    from evcharge.contracts import CONTRACTS
    from evcharge.errors import UserError

    if topic not in CONTRACTS:
        raise UserError(f"{topic} is not a topic; there are {', '.join(CONTRACTS)}")


def _run_identity(command: str) -> RunIdentity:
    """Stands for a Dagster run where a command publishes."""
    from datetime import UTC, datetime

    from evcharge.lake.candidate import RunIdentity

    return RunIdentity(f"{command}-{datetime.now(UTC):%Y%m%dT%H%M%S}", command, "command")


def _print_commits(commits: list[Commit]) -> None:
    for commit in commits:
        dates = json.loads(commit.metadata.get("event_dates", "[]"))
        days = "" if not dates else dates[0] if len(dates) == 1 else f"{dates[0]} … {dates[-1]}"
        run = commit.metadata.get("run_id", "")[:8]
        say(f"{commit.id[:_SHORT_ID]}  {commit.created_at:%Y-%m-%d %H:%M:%S}  {run:8}  {commit.message}  {days}")


def _print_maintained(done: Maintained, *, dry_run: bool = False) -> None:
    from evcharge.cli.output import plain_table, print_table

    table = plain_table("topic", "hours", "files", "MB", "manifests' files")
    for topic, figures in sorted(done.figures.items()):
        table.add_row(
            topic,
            f"{figures.hours:,}",
            f"{figures.files_before:,} → {figures.files_after:,}",
            f"{figures.bytes_before / 1e6:,.1f} → " + ("?" if dry_run else f"{figures.bytes_after / 1e6:,.1f}"),
            f"{figures.manifests_before:,} → {figures.manifests_after:,}",
        )
    if done.figures:
        print_table(table)
    else:
        say("no small files")
    if done.branches:
        say(f"{len(done.branches):,} branches that a kill left {'would be' if dry_run else 'are'} deleted")
    for hour, reason in sorted(done.refused.items()):
        say(f"{hour.topic}, {hour.ingest_hour}: left as it is: {reason}", err=True)
    if done.hours_left:
        say(f"{done.hours_left:,} hours wait for the next call: EVCHARGE_MAINTAIN_S is over")


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        say(line)

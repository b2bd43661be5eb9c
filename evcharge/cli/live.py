"""`evcharge live`: whether the live stream runs and how current it is, and the records that a store refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evcharge.cli.options import AsJson
from evcharge.cli.output import plain_table, print_table, say, show

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from evcharge.live.dead_letters import DeadLetter
    from evcharge.live.dead_letters_retry import Retried
    from evcharge.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    help="Look at the live state: whether the stream runs, how current each of its queries is, and what was refused.\n\n"
    "The stream reads Kafka and writes the documents behind `evcharge nearby`, `station` and `traffic`, and the journal of "
    "events in Cassandra. Dagster's job `live_stream` runs it, or `evcharge stream`.",
)
letters_app = typer.Typer(
    invoke_without_command=True,
    help="List the records that a store refused: how many, by store and reason, and the newest.\n\n"
    "A record is refused if Elasticsearch or Cassandra will never take it, or if our own code fails at it. It becomes a dead "
    "letter, with its offset in Kafka and the reason, and the stream goes on with the next one. The 2,000 newest letters are "
    "kept. The lake has every record in any case. A server that is down refuses nothing: the stream waits for it.\n\n"
    "Mend the cause (a newer version of the platform, a correction that the producer sends), then run "
    "`evcharge live dead-letters retry`.",
)
app.add_typer(letters_app, name="dead-letters")

LetterId = Annotated[
    str | None,
    typer.Argument(
        metavar="[ID]", help="A letter's id, as `evcharge live dead-letters` shows it. Without: all letters."
    ),
]
#: More letters than these are only counted; `show` has them all.
_NEWEST_SHOWN = 10


@app.command()
def status(as_json: AsJson = False) -> None:
    """Say whether the stream runs, and for each of its queries how old its state is, how far it is behind and why it fails.

    A query that fails is tried again until its store is back, and holds up no other one. The exit code is 1 if no stream
    runs, if a query fails, or if dead letters wait.
    """
    from datetime import UTC, datetime

    from evcharge.live.dead_letters import count_letters
    from evcharge.live.stream_lock import is_running
    from evcharge.live.stream_status import read_statuses
    from evcharge.settings import load_settings

    settings = load_settings()
    with _client(settings) as client:
        statuses, letters = read_statuses(client), count_letters(client)
    now, runs = datetime.now(UTC), is_running(settings)

    def print_text() -> None:
        say("The stream runs." if runs else "No stream runs. Dagster's job live_stream, or `evcharge stream`, is it.")
        if statuses:
            table = plain_table("query", "age", "behind", "batch", "failing")
            for found in statuses:
                age_s = found.age_s(now)
                failing = f"for {found.failing_s(now):.0f} s: {found.failing_reason}" if found.failing_since else "no"
                table.add_row(
                    found.query,
                    "unknown" if age_s is None else f"{age_s:.0f} s",
                    f"{found.lag_rows:,} records",
                    f"{found.batch_s:.2f} s",
                    failing,
                )
            print_table(table)
        else:
            say("No query has run yet.")
        say(f"{letters:,} dead letters{': see `evcharge live dead-letters`' if letters else ''}")

    queries = [{**found.to_json(), "age_s": found.age_s(now)} for found in statuses]
    show({"running": runs, "queries": queries, "dead_letters": letters}, as_json, print_text)
    if not runs or letters or any(found.failing_since for found in statuses):
        raise typer.Exit(1)


@letters_app.callback()
def dead_letters(context: typer.Context, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is not None:
        return
    from collections import Counter

    from evcharge.live.dead_letters import read_letters
    from evcharge.settings import load_settings

    with _client(load_settings()) as client:
        letters = read_letters(client)
    counts = Counter((letter.target, letter.store, letter.code) for letter in letters).most_common()
    groups = [{"target": target, "store": store, "code": code, "records": n} for (target, store, code), n in counts]
    newest = letters[:_NEWEST_SHOWN]

    def print_text() -> None:
        if not letters:
            say("No dead letters: no store refused a record.")
            return
        table = plain_table("records", "missing in", "refused by", "code")
        for (target, store, code), n in counts:
            table.add_row(f"{n:,}", target, store, code)
        print_table(table)
        say("", f"The newest {len(newest)} of {len(letters):,}:")
        table = plain_table("since", "id", "station or car", "reason")
        for letter in newest:
            key = letter.station_id if letter.vehicle_id is None else letter.vehicle_id
            table.add_row(letter.first_at, letter.letter_id, _short(key or ""), _short(letter.reason))
        print_table(table)
        say("", "`evcharge live dead-letters show ID` has one whole, `… retry` takes them again.")

    summary = {"dead_letters": len(letters), "by_reason": groups, "newest": [letter.to_json() for letter in newest]}
    show(summary, as_json, print_text)


@letters_app.command("show")
def show_letters(letter_id: LetterId = None, as_json: AsJson = False) -> None:
    """Show one letter whole, or all of them: topic, partition, offset, reason, attempts and the record itself."""
    from evcharge.settings import load_settings

    with _client(load_settings()) as client:
        letters = _letters(client, letter_id)
    show([letter.to_json() for letter in letters], as_json, lambda: _print_letters(letters))


@letters_app.command()
def retry(letter_id: LetterId = None, as_json: AsJson = False) -> None:
    """Take the record of one letter again, or of all of them. What succeeds leaves; what is refused again stays.

    It can be repeated, and beside a running stream: a record that the live state has already changes nothing. A letter leaves
    too where newer records have made its own obsolete. The exit code is 1 if a letter stays.
    """
    from evcharge.live.dead_letters_retry import retry_letters
    from evcharge.settings import load_settings

    settings = load_settings()
    with _client(settings) as client:
        retried = retry_letters(settings, client, _letters(client, letter_id))
    summary = {
        "taken": [letter.letter_id for letter in retried.taken],
        "refused": [letter.letter_id for letter in retried.refused],
        "cut": [letter.letter_id for letter in retried.cut],
    }
    show(summary, as_json, lambda: _print_retried(retried))
    if retried.refused or retried.cut:
        raise typer.Exit(1)


def stream_line(settings: Settings) -> str:
    """One line about the stream for `evcharge stack status`; empty where there are no live stores, or they do not answer."""
    from datetime import UTC, datetime

    from elasticsearch import ApiError

    from evcharge.connections import ServerDownError
    from evcharge.errors import UserError
    from evcharge.live.dead_letters import count_letters
    from evcharge.live.stream_lock import is_running
    from evcharge.live.stream_status import read_statuses

    try:
        with _client(settings) as client:
            statuses, letters = read_statuses(client), count_letters(client)
    except (ServerDownError, UserError, ApiError):
        return ""
    now = datetime.now(UTC)
    parts = ["runs" if is_running(settings) else "does not run"]
    parts += [f"{s.query} failing for {s.failing_s(now):.0f} s" for s in statuses if s.failing_since]
    parts += [f"{letters:,} dead letters"] if letters else []
    return f"live stream: {', '.join(parts)} (`evcharge live status`)"


@contextmanager
def _client(settings: Settings) -> Iterator[Elasticsearch]:
    from evcharge.connections import elasticsearch, elasticsearch_errors
    from evcharge.queries.client import refuse_small

    refuse_small(settings)
    with elasticsearch_errors(settings), elasticsearch(settings) as client:
        yield client


def _letters(client: Elasticsearch, letter_id: str | None) -> list[DeadLetter]:
    """One letter, or all with their records. Raises UserError if there is none of this id."""
    from evcharge.errors import UserError
    from evcharge.live.dead_letters import read_letter, read_letters

    if letter_id is None:
        return read_letters(client, records=True)
    letter = read_letter(client, letter_id)
    if letter is None:
        raise UserError(f"there is no dead letter {letter_id}; `evcharge live dead-letters` lists them")
    return [letter]


def _print_letters(letters: list[DeadLetter]) -> None:
    for letter in letters:
        fields: dict[str, Any] = letter.to_json()
        say(*(f"{name}: {value}" for name, value in fields.items() if value is not None), "")
    say(f"{len(letters):,} dead letters")


def _print_retried(retried: Retried) -> None:
    say(f"{len(retried.taken):,} taken, {len(retried.refused):,} refused again, {len(retried.cut):,} left out")
    for letter in retried.refused:
        say(f"{letter.letter_id}: {letter.reason}")
    for letter in retried.cut:
        say(f"{letter.letter_id}: only the beginning of its record is kept; the lake has the whole")


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"

"""Gaps: rows that left Kafka's log before they were published. Nothing guesses over them; one command accepts them.

Every partition is published from offset 0 on. So a partition that was never published and whose log starts later has a gap
too. An accepted gap lies on main, in `_gaps/<topic>/`, in the same commit as the ledger that passes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

import orjson

from evcharge.errors import UserError
from evcharge.kafka_log import TopicState, first_record_at, topic_states
from evcharge.lake.ledger import Ledger, LedgerError, read_ledger
from evcharge.lake.repository import MAIN, MergeConflictError, Repository
from evcharge.settings import Settings


@dataclass(frozen=True, slots=True)
class Gap:
    """The offsets first <= offset < end of a partition: neither on main nor in Kafka's log."""

    partition: int
    first: int
    end: int

    @property
    def rows(self) -> int:
        return self.end - self.first


@dataclass(frozen=True, slots=True)
class Loss:
    """The gaps of a topic, and what is known of when their rows came.

    They came after `published_at`, the planning of the last publication (None: nothing is published), and before `log_begins`
    of their partition, when Kafka took the first record that is left (None: none is left).
    """

    state: TopicState
    gaps: list[Gap]
    published_at: datetime | None
    log_begins: dict[int, datetime | None]

    @property
    def rows(self) -> int:
        return sum(gap.rows for gap in self.gaps)

    def to_json(self) -> dict[str, Any]:
        return {
            "topic": self.state.topic,
            "topic_id": self.state.topic_id,
            "rows": self.rows,
            "published_at": _iso(self.published_at),
            "gaps": [
                {
                    "partition": gap.partition,
                    "first_offset": gap.first,
                    "last_offset": gap.end - 1,
                    "rows": gap.rows,
                    "log_begins_at": _iso(self.log_begins[gap.partition]),
                }
                for gap in self.gaps
            ],
        }


def gaps(ledger: Ledger, state: TopicState) -> list[Gap]:
    """The gaps between the ledger and the log. Raises LedgerError if the two contradict each other in another way."""
    if ledger.topic_id and ledger.topic_id != state.topic_id:
        raise LedgerError(
            f"topic {state.topic} was made anew (id {state.topic_id}, the ledger knows {ledger.topic_id}); "
            "its offsets now stand for other rows, so nothing is published"
        )
    for partition, published in ledger.offsets.items():
        end = state.log_end.get(partition)
        if end is None:
            raise LedgerError(f"topic {state.topic} lost partition {partition}, published up to {published}")
        if published > end:
            raise LedgerError(f"{state.topic}-{partition}: published up to {published}, but the log ends at {end}")
    starts = sorted(state.log_start.items())
    return [Gap(p, ledger.published(p), start) for p, start in starts if ledger.published(p) < start]


def find_loss(settings: Settings, repository: Repository, topic: str) -> Loss | None:
    """What left the topic's log unpublished; None if nothing did. Raises LedgerError, ServerDownError."""
    state = topic_states(settings, [topic])[topic]
    ledger = read_ledger(repository, topic)
    found = gaps(ledger, state)
    if not found:
        return None
    begins = {gap.partition: first_record_at(state, settings, gap.partition) for gap in found}
    return Loss(state, found, ledger.published_at, begins)


def accept(repository: Repository, loss: Loss) -> str:
    """Writes the loss and the ledger behind it to main, in one commit; returns the id of the merge commit.

    Raises UserError if a publication was merged meanwhile.
    """
    topic, accepted_at = loss.state.topic, datetime.now(UTC)
    branch = f"accept-gap-{topic}-{token_hex(4)}"
    base = repository.create_branch(branch)
    try:
        ledger = read_ledger(repository, topic, base)
        if gaps(ledger, loss.state) != loss.gaps:
            raise UserError(f"{topic}: main's ledger has moved meanwhile; call the command again")
        record = loss.to_json() | {"accepted_at": _iso(accepted_at)}
        repository.write_json(branch, f"{_folder(topic)}{accepted_at:%Y%m%dT%H%M%S%f}.json", record)
        passed = {gap.partition: gap.end for gap in loss.gaps}
        after = replace(ledger, topic_id=loss.state.topic_id, offsets={**ledger.offsets, **passed})
        repository.write_json(branch, Ledger.path(topic), after.to_json())
        message = f"accept gap in {topic}: {loss.rows} rows left Kafka's log unpublished"
        metadata = {"topic": topic, "gaps": orjson.dumps(record["gaps"]).decode()}
        repository.commit(branch, message, metadata)
        return repository.merge(branch, message, metadata)
    except MergeConflictError as error:
        raise UserError(f"{topic}: main's ledger has moved meanwhile; call the command again") from error
    finally:
        repository.delete_branch(branch)


def accepted_gaps(repository: Repository, topic: str, ref: str = MAIN) -> list[Gap]:
    """The gaps of a topic that were accepted."""
    records = (repository.read_json(ref, path) or {} for path in repository.paths(ref, _folder(topic)))
    return [Gap(g["partition"], g["first_offset"], g["last_offset"] + 1) for record in records for g in record["gaps"]]


def described(topic: str, found: Iterable[Gap]) -> Iterator[str]:
    """A line about each gap."""
    return (f"{topic}-{gap.partition}: offsets {gap.first} to {gap.end - 1} left the log unpublished" for gap in found)


def _folder(topic: str) -> str:
    return f"_gaps/{topic}/"


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None

"""The ledger of a topic: `_ledger/<topic>.json` on main says up to which offsets the topic is published.

A publication commits it together with its data. After a crash nothing else is trusted: no sensor cursor, no consumer
group, no run state.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

import orjson

from evcharge.errors import UserError
from evcharge.lake.layout import manifest_prefix
from evcharge.lake.repository import MAIN, Repository


class LedgerError(UserError):
    """Ledger and Kafka contradict each other. Nothing may be published until a person has looked."""


class RangePosition(StrEnum):
    """Where a planned range lies, seen from a ledger."""

    #: The ledger covers every row of the range.
    PUBLISHED = "published"
    #: The range begins exactly where the ledger ends.
    NEXT = "next"
    #: Neither: the ledger ends inside, before or after the range, or it belongs to another topic of this name.
    VOID = "void"


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """A part of a topic: of partition p, the offsets start[p] <= offset < end[p].

    `planned_at` is the UTC instant of planning. Its hour is the ingest hour.
    """

    topic: str
    topic_id: str
    start: dict[int, int]
    end: dict[int, int]
    planned_at: datetime

    @property
    def rows(self) -> int:
        return sum(self.end[p] - self.start[p] for p in self.end)

    @property
    def hash(self) -> str:
        """16 hexadecimal digits, equal for equal offsets of the same topic; `planned_at` does not count."""
        offsets = [[p, self.start[p], self.end[p]] for p in sorted(self.end)]
        return hashlib.sha256(orjson.dumps([self.topic, self.topic_id, offsets])).hexdigest()[:16]

    @property
    def publication_id(self) -> str:
        return f"{self.topic}-{self.hash}"

    @property
    def ingest_hour(self) -> str:
        """`YYYY-MM-DD-HH`: the name of the hour's folder in the lake."""
        return self.planned_at.strftime("%Y-%m-%d-%H")

    @property
    def branch_prefix(self) -> str:
        """What the names of all branches of this range begin with."""
        return f"ingest-{self.topic}-{self.hash}-"

    def branch(self, attempt: int) -> str:
        return f"{self.branch_prefix}{attempt}"

    @property
    def manifest_path(self) -> str:
        return f"{manifest_prefix(self.topic, self.ingest_hour)}{self.hash}.json"

    def to_json(self) -> dict[str, Any]:
        return {
            "topic": self.topic,
            "topic_id": self.topic_id,
            "start": {str(p): o for p, o in sorted(self.start.items())},
            "end": {str(p): o for p, o in sorted(self.end.items())},
            "planned_at": self.planned_at.isoformat(),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        return cls(
            topic=content["topic"],
            topic_id=content["topic_id"],
            start={int(p): int(o) for p, o in content["start"].items()},
            end={int(p): int(o) for p, o in content["end"].items()},
            planned_at=datetime.fromisoformat(content["planned_at"]),
        )


@dataclass(frozen=True, slots=True)
class Ledger:
    """Up to which offset (exclusive) each partition of a topic is published, and by which publication.

    `topic_id` is empty while nothing is published.
    """

    topic: str
    topic_id: str
    offsets: dict[int, int]
    generation: int
    publication_id: str
    attempt: int
    published_at: datetime | None

    @staticmethod
    def path(topic: str) -> str:
        return f"_ledger/{topic}.json"

    def published(self, partition: int) -> int:
        """Up to which offset (exclusive) a partition is published. One that the ledger does not have begins at 0."""
        return self.offsets.get(partition, 0)

    def position_of(self, planned: OffsetRange) -> RangePosition:
        """Whether the range is published, is the next one to publish, or is void."""
        if self.topic_id == planned.topic_id and all(self.published(p) >= o for p, o in planned.end.items()):
            return RangePosition.PUBLISHED
        follows = all(self.published(p) == o for p, o in planned.start.items())
        return RangePosition.NEXT if self.topic_id in ("", planned.topic_id) and follows else RangePosition.VOID

    def after(self, planned: OffsetRange, attempt: int) -> Ledger:
        """The ledger once the range is published."""
        return Ledger(
            topic=self.topic,
            topic_id=planned.topic_id,
            offsets={**self.offsets, **planned.end},
            generation=self.generation,
            publication_id=planned.publication_id,
            attempt=attempt,
            published_at=planned.planned_at,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "topic": self.topic,
            "topic_id": self.topic_id,
            "generation": self.generation,
            "offsets": {str(p): o for p, o in sorted(self.offsets.items())},
            "publication_id": self.publication_id,
            "attempt": self.attempt,
            "published_at": self.published_at.isoformat() if self.published_at else None,
        }


def read_ledger(repository: Repository, topic: str, ref: str = MAIN) -> Ledger:
    """The ledger of `topic` at `ref`. It is empty if nothing is published yet."""
    content = repository.read_json(ref, Ledger.path(topic))
    if content is None:
        return Ledger(topic, "", {}, 0, "", 0, None)
    return Ledger(
        topic=content["topic"],
        topic_id=content["topic_id"],
        offsets={int(p): int(o) for p, o in content["offsets"].items()},
        generation=int(content["generation"]),
        publication_id=content["publication_id"],
        attempt=int(content["attempt"]),
        published_at=datetime.fromisoformat(content["published_at"]) if content["published_at"] else None,
    )

"""What the lake remembers of a topic: `_ledger/<topic>.json` on main, committed together with the data it speaks of.

It is the only ledger: sensor cursors, consumer groups and run states are never believed after a crash.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import orjson

from evcharge.errors import UserError
from evcharge.lake.repository import MAIN, Repository


class LedgerError(UserError):
    """Ledger and Kafka contradict each other; somebody has to look, nothing may be published."""


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """A piece of a topic: partition p holds the offsets start[p] <= offset < end[p].

    `planned_at` is the UTC instant of planning: its hour is the ingest hour.
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
        """Equal for equal offsets of the same topic, whenever planned."""
        offsets = [[p, self.start[p], self.end[p]] for p in sorted(self.end)]
        return hashlib.sha256(orjson.dumps([self.topic, self.topic_id, offsets])).hexdigest()[:16]

    @property
    def publication_id(self) -> str:
        return f"{self.topic}-{self.hash}"

    @property
    def ingest_hour(self) -> str:
        """`YYYY-MM-DD-HH`, also the folder in the lake."""
        return self.planned_at.strftime("%Y-%m-%d-%H")

    def branch(self, attempt: int) -> str:
        return f"ingest-{self.topic}-{self.hash}-{attempt}"

    @property
    def manifest_path(self) -> str:
        return f"_publications/{self.topic}/{self.ingest_hour}/{self.hash}.json"

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
    """Up to which offset (exclusive) each partition of a topic is published, and by what."""

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

    def covers(self, planned: OffsetRange) -> bool:
        """True if every row of the range is published."""
        return self.topic_id == planned.topic_id and all(self.offsets.get(p, 0) >= o for p, o in planned.end.items())

    def is_at_start_of(self, planned: OffsetRange) -> bool:
        """True if the range begins exactly where the ledger ends."""
        same_topic = self.topic_id in ("", planned.topic_id)
        return same_topic and all(self.offsets.get(p, planned.start[p]) == planned.start[p] for p in planned.start)

    def after(self, planned: OffsetRange, attempt: int) -> Ledger:
        """The ledger that the range's publication writes."""
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
    """The ledger of `topic` at `ref`; an empty one where nothing was published yet."""
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

"""Records that a store refused, kept in the index `dead-letters` until they are retried.

A letter names its record by topic, partition and offset, and has the record itself as text. Elasticsearch reads no part of it
but its id and its instant, so that it can refuse no letter. The id is made from what the letter names: a batch that is
repeated, or a state computed anew, meets the same record and adds no second letter. The lake has every record, too.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from evcharge.clock import ms_to_iso
from evcharge.live import indices
from evcharge.live.indices import DEAD_LETTERS
from evcharge.live.refusals import Reason, Record, Refusal
from evcharge.log import log

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

#: The most letters that are kept. Beyond it the oldest leave, so that a hostile feed cannot fill the disk.
MAX_LETTERS = 2_000
#: The most characters of a record that are kept. With MAX_LETTERS this is 200 MB of ASCII at most.
MAX_RECORD_CHARS = 100_000
_MAX_REASON_CHARS = 500
_PER_REQUEST = 200


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that `store` (`elasticsearch`, `cassandra`, or `stream`: our own code) refused for `target`.

    `target` is the index alias or the table that lacks the record. `code` is the store's name for the reason, `reason` its
    words. `record` is the record as JSON, with times in ms; None where the letter was read without it. `is_whole` is false
    if the text is cut. `attempts` counts the refusals: the first one and each retry.
    """

    target: str
    topic: str
    partition: int
    offset: int
    store: str
    code: str
    reason: str
    station_id: str | None
    vehicle_id: str | None
    first_at: str
    last_at: str
    attempts: int = 1
    is_whole: bool = True
    record: str | None = None

    @property
    def letter_id(self) -> str:
        return f"{self.target}:{self.topic}:{self.partition}:{self.offset}"

    def to_json(self) -> dict[str, Any]:
        """With `record` as an object, if it is whole."""
        fields = {"id": self.letter_id, **asdict(self)}
        if self.record is not None and self.is_whole:
            fields["record"] = orjson.loads(self.record)
        return fields

    def refused_again(self, reason: Reason) -> DeadLetter:
        """The letter after another refusal."""
        return replace(
            self,
            store=reason.store,
            code=reason.code[:_MAX_REASON_CHARS],
            reason=reason.text[:_MAX_REASON_CHARS],
            last_at=_now(),
            attempts=self.attempts + 1,
        )


def dead_letter(target: str, topic: str, refusal: Refusal) -> DeadLetter:
    """The letter for a record of `topic` that was refused for `target`."""
    record, reason = refusal
    text = orjson.dumps(record, default=str).decode()
    now = _now()
    return DeadLetter(
        target=target,
        topic=topic,
        partition=record["kafka_partition"],
        offset=record["kafka_offset"],
        store=reason.store,
        code=reason.code[:_MAX_REASON_CHARS],
        reason=reason.text[:_MAX_REASON_CHARS],
        station_id=_short(record, "station_id"),
        vehicle_id=_short(record, "vehicle_id"),
        first_at=now,
        last_at=now,
        is_whole=len(text) <= MAX_RECORD_CHARS,
        record=text[:MAX_RECORD_CHARS],
    )


def bury(client: Elasticsearch, target: str, topic: str, refusals: Sequence[Refusal]) -> None:
    """Keeps the refused records of a batch as dead letters. A letter that exists stays as it is."""
    if not refusals:
        return
    indices.ensure_alias(client, DEAD_LETTERS)
    letters = [dead_letter(target, topic, refusal) for refusal in refusals[-MAX_LETTERS:]]
    for start in range(0, len(letters), _PER_REQUEST):
        lines: list[dict[str, Any]] = []
        for letter in letters[start : start + _PER_REQUEST]:
            lines += [{"create": {"_id": letter.letter_id}}, _document(letter)]
        _bulk(client, lines)
    client.indices.refresh(index=DEAD_LETTERS)
    _remove_oldest(client)
    codes = Counter(f"{reason.store} {reason.code}" for _, reason in refusals)
    log.warning("records were refused", target=target, topic=topic, records=len(refusals), reasons=dict(codes))


def count_letters(client: Elasticsearch) -> int:
    """How many letters wait."""
    return int(client.count(index=DEAD_LETTERS, ignore_unavailable=True)["count"])


def read_letters(client: Elasticsearch, *, limit: int = 2 * MAX_LETTERS, records: bool = False) -> list[DeadLetter]:
    """The newest letters, the newest first; with `records` their records too. Without a `limit` these are all."""
    letters: list[DeadLetter] = []
    after: list[Any] | None = None
    while True:
        size = min(_PER_REQUEST, limit - len(letters))
        hits = client.search(
            index=DEAD_LETTERS,
            ignore_unavailable=True,
            sort=[{"first_at": "desc"}, {"letter_id": "asc"}],
            search_after=after,
            size=size,
            source_excludes=[] if records else ["letter.record"],
        )["hits"]["hits"]
        letters += (DeadLetter(**hit["_source"]["letter"]) for hit in hits)
        if len(hits) < size or len(letters) >= limit:
            return letters
        after = hits[-1]["sort"]


def read_letter(client: Elasticsearch, letter_id: str) -> DeadLetter | None:
    """One letter with its record; None if there is none of this id."""
    from elasticsearch import NotFoundError

    try:
        return DeadLetter(**client.get(index=DEAD_LETTERS, id=letter_id)["_source"]["letter"])
    except NotFoundError:
        return None


def update_letters(client: Elasticsearch, taken: Sequence[DeadLetter], refused: Sequence[DeadLetter]) -> None:
    """Removes the letters whose records were taken, and writes anew those that were refused again."""
    lines: list[dict[str, Any]] = [{"delete": {"_id": letter.letter_id}} for letter in taken]
    for letter in refused:
        lines += [{"index": {"_id": letter.letter_id}}, _document(letter)]
    if lines:
        _bulk(client, lines, refresh=True)


def _bulk(client: Elasticsearch, lines: list[dict[str, Any]], **options: Any) -> None:
    """Writes letters. What exists already (409) or is gone already (404) is as it should be."""
    answer = client.bulk(index=DEAD_LETTERS, operations=lines, require_alias=True, **options)
    for item in answer["items"]:
        (result,) = item.values()
        if "error" in result and result["error"]["type"] != "version_conflict_engine_exception":
            # Raised, so that the batch is repeated: no record may be lost between its store and this one.
            raise ConnectionError(f"{DEAD_LETTERS}: a letter was not written: {result['error']}")


def _document(letter: DeadLetter) -> dict[str, Any]:
    return {"letter_id": letter.letter_id, "first_at": letter.first_at, "letter": asdict(letter)}


def _remove_oldest(client: Elasticsearch) -> None:
    too_many = count_letters(client) - MAX_LETTERS
    if too_many <= 0:
        return
    hits = client.search(
        index=DEAD_LETTERS, sort=[{"first_at": "asc"}, {"letter_id": "desc"}], size=min(too_many, 10_000), source=False
    )["hits"]["hits"]
    _bulk(client, [{"delete": {"_id": hit["_id"]}} for hit in hits], refresh=True)
    log.warning("the oldest dead letters left", letters=len(hits), kept=MAX_LETTERS)


def _short(record: Record, name: str) -> str | None:
    value = record.get(name)
    return None if value is None else str(value)[:_MAX_REASON_CHARS]


def _now() -> str:
    return str(ms_to_iso(time.time_ns() // 1_000_000))

"""Takes the records of dead letters again, once what refused them was mended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

import orjson

from evcharge.errors import UserError
from evcharge.live import indices, journal
from evcharge.live.dead_letters import DeadLetter, update_letters
from evcharge.live.indices import STATION_STATE, VEHICLE_POSITION
from evcharge.live.journal import JournalWriter
from evcharge.live.refusals import Record, Refusal, taken_with_care
from evcharge.live.station_folder import StationFolder
from evcharge.live.vehicle_positions import PositionWriter
from evcharge.settings import Settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

Take = Callable[[Sequence[Record]], list[Refusal]]


@dataclass(slots=True)
class Retried:
    """The letters whose records were taken, those that were refused again, and those whose record is cut."""

    taken: list[DeadLetter] = field(default_factory=list)
    refused: list[DeadLetter] = field(default_factory=list)
    cut: list[DeadLetter] = field(default_factory=list)


def retry_letters(settings: Settings, client: Elasticsearch, letters: Iterable[DeadLetter]) -> Retried:
    """Takes the records again, in the order of their offsets. A letter whose record was taken leaves.

    A record that is in the live state already changes nothing, nor does one that newer records have made obsolete. Raises
    UserError if there is no live state to take it into, ServerDownError.
    """
    retried = Retried(cut=[letter for letter in letters if not letter.is_whole])
    whole = sorted((letter for letter in letters if letter.is_whole), key=attrgetter("target", "topic"))
    for (target, topic), group in groupby(whole, key=attrgetter("target", "topic")):
        waiting = {(letter.partition, letter.offset): letter for letter in group}
        rows = [orjson.loads(waiting[at].record or "") for at in sorted(waiting)]
        refused = []
        for record, reason in taken_with_care(rows, _taker(settings, client, target, topic)):
            letter = waiting.pop((record["kafka_partition"], record["kafka_offset"]))
            refused.append(letter.refused_again(reason))
        update_letters(client, list(waiting.values()), refused)
        retried.taken += waiting.values()
        retried.refused += refused
    return retried


def _taker(settings: Settings, client: Elasticsearch, target: str, topic: str) -> Take:
    """What takes the rows of a topic into an index or a table."""
    if target == journal.TABLE:
        return JournalWriter(settings).take
    if target == VEHICLE_POSITION:
        return PositionWriter(settings).take
    index = indices.live_index(client, STATION_STATE)
    if index is None or not index.is_current_format:
        raise UserError("there is no station state of this version yet; `evcharge stream`, or Dagster, computes it")
    folder = StationFolder(settings, index.name, topic)
    return lambda rows: folder.take(rows, again=True)

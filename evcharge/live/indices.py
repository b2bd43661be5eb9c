"""The Elasticsearch indices of the live state: their mappings are the `.json` files beside this module.

Writers use an index with a name of its own; questions read an alias. So a new state can be computed beside the current one
and take its place in one step, and a stream notices that its index was replaced or removed. Each index keeps in its `_meta`
the offsets that its rows were computed up to: a stream without a checkpoint begins there.

Few fields are `index`ed. A question first finds documents by place or id, and then reads other fields from their columns
(`doc_values`). Indexing every field made writing a third more expensive, and a column for each field of a station another
quarter. A field that no question searches is only in the document.

The stations' segments are merged as fast as the machine can. At Elasticsearch's own limit of 5 MB/s, a merge of the largest
segment took up to 20 s, and 70 small segments piled up behind it, each a cost to every search. The largest segment is merged
to remove replaced documents only when they are a third of it (a fifth by default): up to 2,000 more come each second.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evcharge.connections import elasticsearch, elasticsearch_errors
from evcharge.live.station_document import POWER_KEYS
from evcharge.settings import Settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

STATION_STATE = "station-state"
VEHICLE_POSITION = "vehicle-position"
STREAM_STATUS = "stream-status"
STREAM_LEASE = "stream-lease"
DEAD_LETTERS = "dead-letters"

ALIASES = (STATION_STATE, VEHICLE_POSITION, STREAM_STATUS, STREAM_LEASE, DEAD_LETTERS)

#: The version of the documents. An index of another version has to be computed again. A change of the mappings, or of the
#: vocabulary of connector types, needs a new one.
FORMAT = 8

#: Documents per request where all documents are read.
PAGE = 1_000

Offsets = dict[str, dict[str, int]]
"""Per topic and partition (a text, for JSON) the offset after the last row in the index."""


@dataclass(frozen=True, slots=True)
class LiveIndex:
    """The index behind an alias, with the lake commit and the offsets that it began with."""

    name: str
    begins_at: Offsets
    lake_commit: str
    format: int

    @property
    def is_current_format(self) -> bool:
        """Whether this version of the platform can read and write its documents."""
        return self.format == FORMAT


def definition(alias: str) -> dict[str, Any]:
    """The settings and mappings of an alias's indices."""
    content: dict[str, Any] = json.loads((Path(__file__).parent / f"{alias}.json").read_text())
    if alias == STATION_STATE:
        # The mapping is strict: no text from a message can become a field's name.
        for name in ("power_kw", "free_power_kw"):
            fields = {key: {"type": "float", "index": False} for key in POWER_KEYS}
            content["mappings"]["properties"][name]["properties"] = fields
    return content


def ensure(settings: Settings) -> None:
    """Makes missing indices, empty, and their aliases. Raises ServerDownError."""
    with elasticsearch_errors(settings), elasticsearch(settings) as client:
        for alias in ALIASES:
            ensure_alias(client, alias)


def ensure_alias(client: Elasticsearch, alias: str) -> None:
    """Makes an empty index for `alias` if the alias has none; adds fields that are new since its index was made."""
    if not client.indices.exists_alias(name=alias):
        promote(client, alias, create(client, alias, {}, ""))
    elif alias != STATION_STATE:  # computed anew when its format changes
        client.indices.put_mapping(index=alias, properties=definition(alias)["mappings"]["properties"])


def create(client: Elasticsearch, alias: str, begins_at: Offsets, lake_commit: str) -> str:
    """Makes a new, empty index for `alias`, which does not point to it yet. Returns the index's name."""
    from elasticsearch import BadRequestError

    index = definition(alias)
    name = f"{alias}-{datetime.now(UTC):%Y%m%dt%H%M%S%f}"
    index["mappings"]["_meta"] = {"begins_at": begins_at, "lake_commit": lake_commit, "format": FORMAT}
    try:
        client.indices.create(index=name, settings=index["settings"], mappings=index["mappings"])
    except BadRequestError as error:
        # The name has this instant in it: the client sent its request again, because a busy server answered too late.
        if error.error != "resource_already_exists_exception":
            raise
    return name


def promote(client: Elasticsearch, alias: str, name: str) -> None:
    """Points `alias` to the index `name` in one step and removes the alias's older indices.

    The index that was begun last wins: if the alias points to a later one, `name` is removed instead.
    """
    current = live_index(client, alias)
    if current is not None and current.name > name:
        client.indices.delete(index=name, ignore_unavailable=True)
        return
    older = [old for old in client.indices.get(index=f"{alias}-*", ignore_unavailable=True) if old < name]
    client.indices.refresh(index=name)
    actions: list[dict[str, Any]] = [{"add": {"index": name, "alias": alias}}]
    actions += [{"remove_index": {"index": old}} for old in older]
    client.indices.update_aliases(actions=actions)


def live_index(client: Elasticsearch, alias: str) -> LiveIndex | None:
    """The index that `alias` points to; None if there is none."""
    from elasticsearch import NotFoundError

    try:
        found = client.indices.get(index=alias)
    except NotFoundError:
        return None
    name, index = max(found.items())
    meta = index["mappings"].get("_meta", {})
    return LiveIndex(name, meta.get("begins_at", {}), meta.get("lake_commit", ""), meta.get("format", 1))


def documents(client: Elasticsearch, query: Mapping[str, Any], includes: list[str]) -> Iterator[dict[str, Any]]:
    """Every station document that matches `query`, with the fields in `includes`."""
    after: list[Any] | None = None
    while True:
        hits = client.search(
            index=STATION_STATE,
            query=query,
            source_includes=includes,
            sort=[{"station_id": "asc"}],
            search_after=after,
            size=PAGE,
            track_total_hits=False,
        )["hits"]["hits"]
        yield from (hit["_source"] for hit in hits)
        if len(hits) < PAGE:
            return
        after = hits[-1]["sort"]

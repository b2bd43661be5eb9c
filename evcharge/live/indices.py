"""The Elasticsearch indices of the live state: their mappings are the `.json` files beside this module.

What is written is an index of a name of its own; questions read an alias. So the state can be computed anew beside the
running one and take its place in one step, and a stream notices that its index was replaced or removed. Each index
remembers in its `_meta` the offsets that its rows were computed up to: a stream without a checkpoint begins there.

Few fields are `index`ed: what questions look for is first found by its place (or id), and the rest is then read from the
columns (`doc_values`). To index everything made writing a third dearer, and a column of each of a station's fields, asked for
or not, another quarter: what no question looks for is only in the document.

The stations' segments are merged as fast as the machine can: slowed down to 5 MB/s, as Elasticsearch does by itself, a merge
of the largest took up to 20 s, and 70 small ones, each a cost to every search, piled up behind it. The largest is merged to
be rid of replaced documents only when these are a third (a fifth by default): there may be 2,000 more each second.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evcharge.connections import elasticsearch, elasticsearch_errors
from evcharge.settings import Settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

STATION_STATE = "station-state"
VEHICLE_POSITION = "vehicle-position"
STREAM_STATUS = "stream-status"

ALIASES = (STATION_STATE, VEHICLE_POSITION, STREAM_STATUS)

#: Counts the changes of the documents after which an index has to be computed anew.
FORMAT = 5

#: Documents of one request where all are read.
PAGE = 1_000

Offsets = dict[str, dict[str, int]]
"""Per topic and partition (as text, for JSON) the offset up to which rows are applied, exclusive."""


@dataclass(frozen=True, slots=True)
class LiveIndex:
    """The index behind an alias and the offsets that it began with."""

    name: str
    begins_at: Offsets
    lake_commit: str
    format: int

    @property
    def is_current_format(self) -> bool:
        """Whether its documents are such as this version of the platform reads and writes."""
        return self.format == FORMAT


def definition(alias: str) -> dict[str, Any]:
    """Settings and mappings of an alias' indices."""
    told: dict[str, Any] = json.loads((Path(__file__).parent / f"{alias}.json").read_text())
    return told


def ensure(settings: Settings) -> None:
    """Makes the indices that are missing, empty, and their aliases. Raises ServerDownError."""
    with elasticsearch_errors(settings), elasticsearch(settings) as client:
        for alias in ALIASES:
            ensure_alias(client, alias)


def ensure_alias(client: Elasticsearch, alias: str) -> None:
    """Makes an empty index for `alias` if it has none."""
    if not client.indices.exists_alias(name=alias):
        promote(client, alias, create(client, alias, {}, ""))


def create(client: Elasticsearch, alias: str, begins_at: Offsets, lake_commit: str) -> str:
    """A new, empty index for `alias`, which does not point to it yet; its name."""
    told = definition(alias)
    name = f"{alias}-{datetime.now(UTC):%Y%m%dt%H%M%S%f}"
    told["mappings"]["_meta"] = {"begins_at": begins_at, "lake_commit": lake_commit, "format": FORMAT}
    client.indices.create(index=name, settings=told["settings"], mappings=told["mappings"])
    return name


def promote(client: Elasticsearch, alias: str, name: str) -> None:
    """Points `alias` to the index `name` in one step and removes the indices it takes the place of.

    An index that was begun later wins: if one has the alias already, `name` is removed instead.
    """
    present = live_index(client, alias)
    if present is not None and present.name > name:
        client.indices.delete(index=name, ignore_unavailable=True)
        return
    former = [old for old in client.indices.get(index=f"{alias}-*", ignore_unavailable=True) if old < name]
    client.indices.refresh(index=name)
    actions: list[dict[str, Any]] = [{"add": {"index": name, "alias": alias}}]
    actions += [{"remove_index": {"index": old}} for old in former]
    client.indices.update_aliases(actions=actions)


def live_index(client: Elasticsearch, alias: str) -> LiveIndex | None:
    """The index that `alias` points to, None if there is none."""
    from elasticsearch import NotFoundError

    try:
        found = client.indices.get(index=alias)
    except NotFoundError:
        return None
    name, told = max(found.items())
    meta = told["mappings"].get("_meta", {})
    return LiveIndex(name, meta.get("begins_at", {}), meta.get("lake_commit", ""), meta.get("format", 1))


def documents(client: Elasticsearch, query: Mapping[str, Any], includes: list[str]) -> Iterator[dict[str, Any]]:
    """Every station document that matches, with some of its fields."""
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

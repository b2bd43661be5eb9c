"""Where the model is saved: the Elasticsearch index `forecast-model`, which the questions' read-only login can read.

It has a document for each version, at most `KEPT` of them, and the document `current`, which names the newest version and its
score. A reader asks for `current` now and then, and reads a version once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from evcharge.forecast.model import PRIOR, Model
from evcharge.forecast.saved_model import model_of, parameters, version_of

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

INDEX = "forecast-model"
CURRENT = "current"
#: A week of daily versions, to go back to.
KEPT = 7
#: A model that was read is used for this long before the store is asked for a newer one: it changes once a day.
ASKED_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class Saved:
    """What saving did: the version, and whether the store did not have it yet."""

    version: str
    is_new: bool
    size_bytes: int


def definition() -> dict[str, Any]:
    """The index's settings and mappings."""
    content: dict[str, Any] = json.loads((Path(__file__).parent / "forecast-model.json").read_text())
    return content


def ensure(client: Elasticsearch) -> None:
    """Makes the index if it is missing."""
    if not client.indices.exists(index=INDEX):
        client.options(ignore_status=400).indices.create(index=INDEX, **definition())


def save(client: Elasticsearch, model: Model, now: datetime) -> Saved:
    """Saves a model, unless the store has it: then nothing changes but which version is current."""
    ensure(client)
    learned = parameters(model)
    text = orjson.dumps(learned).decode()
    version = version_of(learned)
    is_new = not client.exists(index=INDEX, id=version)
    if is_new:
        document = {
            "version": version,
            "trained_at": now.astimezone(UTC).isoformat(timespec="seconds"),
            "source": model.source,
            "trained_on": orjson.dumps(dict(model.trained_on)).decode(),
            "parameters": text,
        }
        client.index(index=INDEX, id=version, document=document, refresh=True)
    current = _current(client)
    if current is None or current["version"] != version:
        client.index(index=INDEX, id=CURRENT, document={"version": version, "score": (current or {}).get("score")})
    if is_new:
        _forget_old(client, version)
    return Saved(version, is_new, len(text))


def save_score(client: Elasticsearch, score: Mapping[str, Any]) -> None:
    """Saves the newest score beside the current version."""
    ensure(client)
    current = _current(client) or {"version": None}
    client.index(
        index=INDEX,
        id=CURRENT,
        document={"version": current["version"], "score": orjson.dumps(dict(score)).decode()},
    )


def newest_score(client: Elasticsearch) -> dict[str, Any] | None:
    """The newest score; None before the first."""
    text = (_current(client) or {}).get("score")
    return None if text is None else dict(orjson.loads(text))


def newest_model(client: Elasticsearch, known: Model | None = None) -> Model:
    """The current model with its score; `PRIOR` if none was saved. `known` is what was read before."""
    current = _current(client)
    if current is None or current["version"] is None:
        return PRIOR if current is None or current["score"] is None else replace(PRIOR, score=newest_score(client))
    score = None if current["score"] is None else orjson.loads(current["score"])
    if known is not None and known.version == current["version"]:
        return known if known.score == score else replace(known, score=score)
    document = _get(client, current["version"])
    if document is None:
        return PRIOR
    try:
        return model_of(
            orjson.loads(document["parameters"]),
            version=document["version"],
            source=document["source"],
            trained_at=document["trained_at"],
            trained_on=orjson.loads(document["trained_on"]),
            score=score,
        )
    except ValueError:
        # of another version of this program: today's training replaces it
        return PRIOR


class ModelReader:
    """The current model, read again when a newer one was saved. Any number of threads may use it."""

    def __init__(self) -> None:
        self._asked_at = float("-inf")
        self._model = PRIOR

    def __call__(self, client: Elasticsearch) -> Model:
        """The model; at most once in `ASKED_EVERY_S` the store is asked."""
        now = time.monotonic()
        if now - self._asked_at > ASKED_EVERY_S:
            self._asked_at = now
            self._model = newest_model(client, self._model)
        return self._model


def _current(client: Elasticsearch) -> dict[str, Any] | None:
    return _get(client, CURRENT)


def _get(client: Elasticsearch, document_id: str) -> dict[str, Any] | None:
    from elasticsearch import NotFoundError

    try:
        return dict(client.get(index=INDEX, id=document_id)["_source"])
    except NotFoundError:
        return None


def _forget_old(client: Elasticsearch, newest: str) -> None:
    found = client.search(
        index=INDEX, query={"exists": {"field": "trained_at"}}, sort=[{"trained_at": "desc"}], size=100, source=False
    )
    for hit in found["hits"]["hits"][KEPT:]:
        if hit["_id"] != newest:
            client.delete(index=INDEX, id=hit["_id"])

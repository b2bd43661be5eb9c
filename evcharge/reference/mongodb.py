"""The reference data in MongoDB: the stations and the EV models that the simulation and the warehouse's dimensions read.

There are two collections: `stations` (`_id` is the station_id) and `ev_models` (`_id` is the ev_model_id). A load is an
upsert by content: loading the same rows again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from evcharge.connections import mongodb
from evcharge.contracts import STATION_REGISTRY
from evcharge.errors import UserError
from evcharge.reference.bundled import bundled_models, bundled_stations
from evcharge.settings import Settings

if TYPE_CHECKING:
    from pymongo.database import Database

Row = dict[str, Any]

STATIONS = "stations"
EV_MODELS = "ev_models"

#: The fields that a station has in addition to those of the station-registry contract, as (type, meaning).
STATION_EXTRAS: dict[str, tuple[str, str]] = {
    "facility_type": ("string", "What the site is, in AFDC's words; null where unknown"),
    "access_code": ("string", "AFDC: public or private; null where unknown"),
    "location": ("GeoJSON point", "Longitude and latitude, for $near"),
    "loaded_at": ("timestamp", "When the document was last changed"),
}
#: The fields of an EV model, as (type, meaning); `ev_model_id` is the document's `_id`.
MODEL_FIELDS: dict[str, tuple[str, str]] = {
    "ev_model_id": ("string", "Vehicle model; key"),
    "make": ("string", "Maker"),
    "model": ("string", "Model and version"),
    "usable_kwh": ("double", "Battery that can be used, kWh"),
    "ac_kw": ("double", "Onboard charger: most power on AC, kW"),
    "dc_kw": (
        "double",
        "Most power on DC, kW (source kaggle: mean of a fast charge); null if it cannot fast charge",
    ),
    "consumption_kwh_per_100km": ("double", "Consumption, kWh per 100 km"),
    "connector_types": ("array<string>", "Connectors that it takes, in AFDC's words"),
    "dc_curve": ("array<array<double>>", "Power on DC by state of charge: (0 to 1, kW) points; null where unknown"),
    "fleet_share": ("double", "Share of the simulated fleet; null where the model is not simulated"),
    "source": ("string", "Where the figures come from: open-ev-data, kaggle"),
    "loaded_at": ("timestamp", "When the document was last changed"),
}

#: Fields that describe the load and not the station or model. Rows that differ only in these are the same.
_BOOKKEEPING = ("observed_at", "snapshot_scope", "loaded_at")
_LOCATION_INDEX = "location_2dsphere"
# For each id, SecantusDB needs four times as long with a thousand ids in an $in as with a hundred.
_BATCH = 200


@dataclass(frozen=True, slots=True)
class Upserted:
    """How many rows a load inserted, changed or left as they were; `older` rows met a newer document and were not written."""

    inserted: int = 0
    changed: int = 0
    unchanged: int = 0
    older: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """The documents of one source in a collection; `removed` of them are stations that are gone."""

    collection: str
    source: str
    documents: int
    removed: int
    loaded_at: datetime


def ensure(settings: Settings) -> dict[str, Upserted]:
    """Makes the indexes, and fills empty collections with the bundled data; changes nothing else.

    Returns the filled collections by name. Raises ServerDownError.
    """
    from pymongo import ASCENDING, GEOSPHERE

    with _database(settings) as database:
        # Checked first: not every server accepts the creation of a 2dsphere index that exists.
        if _LOCATION_INDEX not in database[STATIONS].index_information():
            database[STATIONS].create_index([("location", GEOSPHERE)], name=_LOCATION_INDEX)
        names = [("source", ASCENDING), ("make", ASCENDING), ("model", ASCENDING)]
        database[EV_MODELS].create_index(names, unique=True)
        empty = {name for name in (STATIONS, EV_MODELS) if database[name].find_one({}, {"_id": 1}) is None}
    filled = {}
    if EV_MODELS in empty:
        filled[EV_MODELS] = upsert_models(settings, bundled_models())
    if STATIONS in empty:
        filled[STATIONS] = upsert_stations(settings, bundled_stations())
    return filled


def upsert_stations(settings: Settings, rows: Iterable[Mapping[str, Any]]) -> Upserted:
    """Writes rows of the station-registry contract, which may also have `facility_type` and `access_code`.

    If a station has several rows, the newest one counts. A row that is older than the document changes nothing. Where a row
    has no facility type or access code, the document keeps its own. It also keeps its EVSEs while the connectors are the
    same. Raises ServerDownError.
    """
    newest: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        other = newest.get(row["station_id"])
        if other is None or row["observed_at"] >= other["observed_at"]:
            newest[row["station_id"]] = row
    return _upsert(settings, STATIONS, [_station_document(row) for row in newest.values()], _merged_station)


def upsert_models(settings: Settings, rows: Iterable[Mapping[str, Any]]) -> Upserted:
    """Writes rows with the fields of MODEL_FIELDS, without `loaded_at`. Raises ServerDownError."""
    documents = []
    for row in rows:
        content = {name: row.get(name) for name in MODEL_FIELDS if name != "loaded_at"}
        documents.append({"_id": content.pop("ev_model_id"), **content})
    return _upsert(settings, EV_MODELS, documents, lambda document, _: document)


def stations(settings: Settings, *, open_only: bool = False) -> list[Row]:
    """The stations, sorted by id: rows of the contract with STATION_EXTRAS. `open_only` selects status E and not removed."""
    wanted = {"status_code": "E", "removed_at": None} if open_only else {}
    with _database(settings) as database:
        return [_row("station_id", document) for document in database[STATIONS].find(wanted).sort("_id")]


def ev_models(settings: Settings) -> list[Row]:
    """The EV models, sorted by id: rows with the fields of MODEL_FIELDS. Raises ServerDownError."""
    with _database(settings) as database:
        return [_row("ev_model_id", document) for document in database[EV_MODELS].find().sort("_id")]


def observed(settings: Settings) -> dict[str, datetime]:
    """The time of each station's last observation, by id. Raises ServerDownError."""
    with _database(settings) as database:
        return {found["_id"]: found["observed_at"] for found in database[STATIONS].find({}, {"observed_at": 1})}


def held(settings: Settings) -> list[Held]:
    """The contents of the collections, by source. Raises ServerDownError."""
    sums = {
        "_id": "$source",
        "documents": {"$sum": 1},
        # A document without the field has null there, which is less than any time.
        "removed": {"$sum": {"$cond": [{"$gt": ["$removed_at", None]}, 1, 0]}},
        "loaded_at": {"$max": "$loaded_at"},
    }
    with _database(settings) as database:
        return [
            Held(name, found["_id"], found["documents"], found["removed"], found["loaded_at"])
            for name in (STATIONS, EV_MODELS)
            for found in database[name].aggregate([{"$group": sums}, {"$sort": {"_id": 1}}])
        ]


def _station_document(row: Mapping[str, Any]) -> Row:
    content = {name: row.get(name) for name in STATION_REGISTRY.columns if name not in ("schema_version", "station_id")}
    location = {"type": "Point", "coordinates": [row["longitude"], row["latitude"]]}
    extras = {name: row[name] for name in ("facility_type", "access_code") if row.get(name) is not None}
    return {"_id": row["station_id"], **content, "location": location, **extras}


def _merged_station(document: Row, stored: Row | None) -> Row | None:
    """The document, completed with fields of the stored one; None if the stored one is newer."""
    known: Row = {"facility_type": None, "access_code": None}
    if stored is not None:
        if document["observed_at"] < stored["observed_at"]:
            return None
        known = {name: stored.get(name) for name in known}
        if document["evses"] is None and document["connectors"] == stored["connectors"]:
            return {**known, **document, "evses": stored["evses"]}
    return {**known, **document}


def _upsert(
    settings: Settings, collection: str, documents: list[Row], merged: Callable[[Row, Row | None], Row | None]
) -> Upserted:
    from pymongo import ReplaceOne

    loaded_at = _to_milliseconds(datetime.now(UTC))
    inserted = changed = older = 0
    with _database(settings) as database:
        for start in range(0, len(documents), _BATCH):
            batch = [_as_stored(document) for document in documents[start : start + _BATCH]]
            ids = [document["_id"] for document in batch]
            stored = {document["_id"]: document for document in database[collection].find({"_id": {"$in": ids}})}
            writes = []
            for document in batch:
                former = stored.get(document["_id"])
                content = merged(document, former)
                if content is None:
                    older += 1
                elif former is None or _content(content) != _content(former):
                    inserted, changed = inserted + (former is None), changed + (former is not None)
                    writes.append(
                        ReplaceOne({"_id": document["_id"]}, {**content, "loaded_at": loaded_at}, upsert=True)
                    )
            if writes:
                database[collection].bulk_write(writes, ordered=False)
    return Upserted(inserted, changed, len(documents) - inserted - changed - older, older)


def _content(document: Row) -> Row:
    return {name: value for name, value in document.items() if name not in _BOOKKEEPING}


def _as_stored(value: Any) -> Any:
    """The value as MongoDB returns it: times to the millisecond, lists for tuples."""
    if isinstance(value, datetime):
        return _to_milliseconds(value)
    if isinstance(value, Mapping):
        return {name: _as_stored(part) for name, part in value.items()}
    return [_as_stored(part) for part in value] if isinstance(value, list | tuple) else value


def _to_milliseconds(at: datetime) -> datetime:
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _row(key: str, document: Row) -> Row:
    return {key: document.pop("_id"), **document}


@contextmanager
def _database(settings: Settings) -> Iterator[Database[Row]]:
    """The database. A refusal by the server, such as a wrong login, becomes a UserError."""
    from pymongo.errors import OperationFailure

    if not available(settings):
        raise UserError("there is no MongoDB in EVCHARGE_PROFILE=small: use full, or set EVCHARGE_MONGODB_HOST")
    try:
        with mongodb(settings) as database:
            yield database
    except OperationFailure as error:
        raise UserError(
            f"mongodb at {settings.mongodb_host} refuses: {error.details and error.details.get('errmsg')}"
        ) from error


def available(settings: Settings) -> bool:
    """Whether the platform has a MongoDB: the small profile starts none."""
    return settings.profile == "full" or settings.is_external("mongodb")

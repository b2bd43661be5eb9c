"""Which stations the registry's archive has, and their time zones, in one file on main, so that nobody opens all of its files.

A publication of the registry that brings a new station or another zone writes the file anew on its own branch. A lake of an
earlier version gets it with the next publication of the registry, or with maintenance. Until then the archive itself is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING

from evcharge.connections import lake_files
from evcharge.contracts import STATION_REGISTRY
from evcharge.lake.layout import KNOWN_STATIONS_PATH as PATH
from evcharge.lake.layout import raw_prefix
from evcharge.lake.repository import Repository
from evcharge.lake.rows import archive_dataset
from evcharge.lake.schemas import raw_schema

if TYPE_CHECKING:
    import pyarrow as pa

_ID, _ZONE = "station_id", "time_zone"
#: A station's newest record is the last one in this order.
_ORDER = ("observed_at", "topic_generation", "kafka_partition", "kafka_offset")


def known_stations(repository: Repository, ref: str) -> frozenset[str]:
    """Ids of all stations that the registry's archive at `ref` has, removed ones too."""
    return frozenset(station_zones(repository, ref))


def station_zones(repository: Repository, ref: str) -> Mapping[str, str | None]:
    """The IANA time zone of each of these stations, as its newest record says."""
    noted = _noted(repository, ref)
    return _in_files(repository, ref, [raw_prefix(STATION_REGISTRY.topic)]) if noted is None else noted


def zones_table(zones: Mapping[str, str | None]) -> pa.Table:
    """The stations and their zones as the columns `station_id` and `time_zone`."""
    import pyarrow as pa

    return pa.table({_ID: pa.array(zones, pa.string()), _ZONE: pa.array(zones.values(), pa.string())})


def note_stations(repository: Repository, branch: str, base: str, files: Iterable[str] = ()) -> bool:
    """Writes the file to a branch if its `files`, beside what the commit `base` has, change it, or if there is none yet.

    Returns whether it was written.
    """
    prefix = raw_prefix(STATION_REGISTRY.topic)
    noted = _noted(repository, base)
    before = _in_files(repository, base, [prefix]) if noted is None else noted
    added = _in_files(repository, branch, [path for path in files if path.startswith(prefix)])
    if moved := [station for station, zone in added.items() if before.get(station, zone) != zone]:
        # The newest record decides. It may be an earlier one, and the file does not say when that was observed.
        everywhere = _in_files(repository, branch, [prefix])
        added |= {station: everywhere[station] for station in moved}
    stations = before | added
    if stations == noted or not stations:
        return False
    _write(repository, branch, stations)
    return True


def _write(repository: Repository, branch: str, stations: Mapping[str, str | None]) -> None:
    import pyarrow.parquet as pq

    table = zones_table(dict(sorted(stations.items())))
    with lake_files(repository.settings).open_output_stream(f"{repository.name}/{branch}/{PATH}") as stream:
        pq.write_table(table, stream, compression="zstd")


def _noted(repository: Repository, ref: str) -> dict[str, str | None] | None:
    import pyarrow.parquet as pq

    content = repository.read(ref, PATH)
    if content is None:
        return None
    table = pq.read_table(BytesIO(content))
    # an earlier version wrote no zones
    return _zones(table) if _ZONE in table.column_names else None


def _in_files(repository: Repository, ref: str, prefixes: Iterable[str]) -> dict[str, str | None]:
    import pyarrow.compute as pc

    files = archive_dataset(repository, ref, prefixes, raw_schema(STATION_REGISTRY))
    if files is None:
        return {}
    rows = files.to_table(columns=[_ID, _ZONE, *_ORDER])
    order = pc.sort_indices(rows, [(name, "ascending", "at_start") for name in _ORDER])
    return _zones(rows.take(order))


def _zones(rows: pa.Table) -> dict[str, str | None]:
    return dict(zip(rows[_ID].to_pylist(), rows[_ZONE].to_pylist(), strict=True))

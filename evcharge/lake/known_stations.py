"""Which stations the registry's archive has, in one file on main, so that nobody opens all of its files to know.

A publication of the registry that brings new stations writes the file anew on its own branch. A lake of an earlier version gets
it with the next publication of the registry, or with maintenance. Until then the archive itself is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO

from evcharge.connections import lake_files
from evcharge.contracts import STATION_REGISTRY
from evcharge.lake.layout import KNOWN_STATIONS_PATH as PATH
from evcharge.lake.layout import raw_prefix
from evcharge.lake.repository import Repository
from evcharge.lake.rows import archive_dataset

_ID = "station_id"


def known_stations(repository: Repository, ref: str) -> frozenset[str]:
    """Ids of all stations that the registry's archive at `ref` has, removed ones too."""
    noted = _noted(repository, ref)
    return _in_files(repository, ref, [raw_prefix(STATION_REGISTRY.topic)]) if noted is None else noted


def note_stations(repository: Repository, branch: str, base: str, files: Iterable[str] = ()) -> bool:
    """Writes the file to a branch if its `files`, beside what the commit `base` has, bring stations, or if there is none yet.

    Returns whether it was written.
    """
    noted = _noted(repository, base)
    before = known_stations(repository, base) if noted is None else noted
    prefix = raw_prefix(STATION_REGISTRY.topic)
    stations = before | _in_files(repository, branch, [path for path in files if path.startswith(prefix)])
    if stations == noted or not stations:
        return False
    _write(repository, branch, stations)
    return True


def _write(repository: Repository, branch: str, stations: Iterable[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with lake_files(repository.settings).open_output_stream(f"{repository.name}/{branch}/{PATH}") as stream:
        pq.write_table(pa.table({_ID: sorted(stations)}), stream, compression="zstd")


def _noted(repository: Repository, ref: str) -> frozenset[str] | None:
    import pyarrow.parquet as pq

    content = repository.read(ref, PATH)
    return None if content is None else frozenset(pq.read_table(BytesIO(content))[_ID].to_pylist())


def _in_files(repository: Repository, ref: str, prefixes: Iterable[str]) -> frozenset[str]:
    files = archive_dataset(repository, ref, prefixes)
    return frozenset(files.to_table(columns=[_ID])[_ID].to_pylist() if files else ())

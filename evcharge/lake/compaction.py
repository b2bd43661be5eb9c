"""Compaction: the small files of an ingest hour become few, sorted ones, with the same rows.

It is a publication without new rows: written to a branch of its own, checked there, merged. Readers take their files from a
commit, so they see the hour before or after. The commit names no topic and no dates, so nothing is loaded again. The manifests
of the hour go into one file, with the number of rows that each publication has in the new files.

A folder has the rows of one event date, or quarantine, so files are joined within it. At most `compact_mb` of rows are in
memory twice: as they were read, and sorted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from math import ceil

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as pq

from evcharge.connections import lake_files
from evcharge.contracts import CONTRACTS
from evcharge.gathering import gathered, give_back
from evcharge.lake.candidate import Manifest
from evcharge.lake.layout import JOINED_MANIFESTS, compacted_path, manifest_prefix
from evcharge.lake.locate import manifest_files
from evcharge.lake.repository import Repository
from evcharge.lake.row_digest import Digest, digest_of
from evcharge.lake.rowfiles import upload
from evcharge.lake.schemas import QUARANTINE_SCHEMA, raw_schema
from evcharge.lake.waiting_hours import Hour
from evcharge.settings import Settings

#: Rows in memory take some eight times the bytes of their Parquet file (measured on session events). A file with more than a
#: full file's share is left alone.
_PACKED = 8
#: A reader takes a row group at once, and skips those without its stations.
_GROUP_ROWS = 50_000
_READ_ROWS = 32_768
#: Messages have up to 8 MB each: of a row group with more bytes than this a few rows are read at once.
_READ_BYTES = 32_000_000
_FEW_ROWS = 4
_PLACE = ("topic_generation", "kafka_partition", "kafka_offset")


class _UnreadableError(RuntimeError):
    """A file is no Parquet file, or a broken one."""


class _NotGivenError(OSError):
    """The store does not give a file that lakeFS knows."""


class _OtherColumnsError(RuntimeError):
    """A file has not the columns of the present contract."""


class RefusedHourError(RuntimeError):
    """An hour is left as it is, because its rows would not be the same after it, or are not what its manifests say."""

    def __init__(self, hour: Hour, reason: str) -> None:
        super().__init__(f"{hour.topic} {hour.ingest_hour}: {reason}")
        self.hour, self.reason = hour, reason


@dataclass(frozen=True, slots=True)
class HourPlan:
    """What is to be joined in an hour at a commit: files by folder, with their bytes, and the files with its manifests.

    With `forgets` quarantined rows lose their message (`_without_messages`). Place and rule stay.
    """

    hour: Hour
    folders: dict[str, dict[str, int]]
    manifests: dict[str, list[Manifest]]
    forgets: bool = False

    @property
    def files(self) -> int:
        return sum(map(len, self.folders.values()))

    @property
    def bytes(self) -> int:
        return sum(size for files in self.folders.values() for size in files.values())

    def files_after(self, settings: Settings) -> int:
        """About so many files are left of them."""
        limit = settings.compact_mb * 1_000_000
        return sum(ceil(sum(files.values()) * _PACKED / limit) for files in self.folders.values())

    @property
    def nothing(self) -> bool:
        return not self.folders and len(self.manifests) < 2


@dataclass(frozen=True, slots=True)
class CompactedHour:
    """What became of an hour on a branch.

    `removed` has the bytes of each former file, `added` the rows of each publication in each new file, and `bytes_added` the
    bytes of these. `digest` is that of the rows as they were read.
    """

    plan: HourPlan
    removed: dict[str, int]
    added: dict[str, Counter[str]]
    bytes_added: int
    digest: Digest
    manifest_path: str

    @property
    def changes(self) -> set[tuple[str, str]]:
        """What the branch changes, as `Repository.diff` says it."""
        found = {("removed", path) for path in self.removed} | {("added", path) for path in self.added}
        before = self.plan.manifests.keys()
        if not found and before == {self.manifest_path}:
            return set()
        found |= {("removed", path) for path in before if path != self.manifest_path}
        found.add(("changed" if self.manifest_path in before else "added", self.manifest_path))
        return found


@dataclass
class Figures:
    """Files and bytes of the hours of a topic that were compacted, before and after, and their manifests' files."""

    hours: int = 0
    rows: int = 0
    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    manifests_before: int = 0
    manifests_after: int = 0

    def add(self, other: Figures) -> None:
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def plan_hour(
    settings: Settings, repository: Repository, commit: str, hour: Hour, *, is_running: bool, forgets: bool = False
) -> HourPlan:
    """What is to be joined in an hour at a commit; nothing in the running hour while it has few files."""
    manifests = manifest_files(repository, hour.topic, hour.ingest_hour, commit)
    known = {path for manifest in chain(*manifests.values()) for path in manifest.files}
    small = settings.compact_mb * 1_000_000 // _PACKED
    folders = {}
    for folder in sorted({path[: path.rindex("/") + 1] for path in known}):
        sizes = {path: size for path, size in repository.sizes(commit, folder) if path in known}
        if forgets and folder.startswith("quarantine/"):
            folders[folder] = sizes
            continue
        files = {path: size for path, size in sizes.items() if size < small}
        if len(files) > 1:
            folders[folder] = files
    plan = HourPlan(hour, folders, manifests, forgets)
    return HourPlan(hour, {}, {}) if is_running and plan.files < settings.compact_running_files else plan


def compact_hour(
    settings: Settings, repository: Repository, base: str, branch: str, plan: HourPlan, name: str
) -> CompactedHour:
    """Joins the files of an hour, read from the commit `base`, on a branch. The new files' names contain `name`.

    Raises RefusedHourError if a file cannot be read, OSError or ServerDownError if a server does not answer or has no room.
    """
    removed: dict[str, int] = {}
    writer = _FolderWriter(settings, repository, base, branch, plan.hour.topic, name, plan.forgets)
    for folder, files in plan.folders.items():
        try:
            removed |= {path: files[path] for path in writer.join(folder, files)}
        except _UnreadableError as error:
            raise RefusedHourError(plan.hour, str(error)) from error
        except _NotGivenError as error:
            # if the store gives other files, it has lost this one
            if repository.read(base, next(iter(plan.manifests))) is None:
                raise
            raise RefusedHourError(plan.hour, str(error)) from error
    path = f"{manifest_prefix(plan.hour.topic, plan.hour.ingest_hour)}{JOINED_MANIFESTS}"
    done = CompactedHour(plan, removed, writer.added, writer.bytes_added, writer.digest, path)
    if done.changes:
        manifests = [_moved(manifest, removed, writer.added) for manifest in chain(*plan.manifests.values())]
        repository.write_json(branch, path, {"manifests": [manifest.to_json() for manifest in manifests]})
        repository.delete(branch, [*removed, *(old for old in plan.manifests if old != path)])
    return done


def _moved(manifest: Manifest, removed: Container[str], added: dict[str, Counter[str]]) -> Manifest:
    """The manifest with its rows in the new files."""
    files = {path: rows for path, rows in manifest.files.items() if path not in removed}
    files |= {path: rows[manifest.publication_id] for path, rows in added.items() if rows[manifest.publication_id]}
    return replace(manifest, files=dict(sorted(files.items())))


@dataclass
class _FolderWriter:
    """Joins the files of folders of a topic, and knows what it read and wrote."""

    settings: Settings
    repository: Repository
    base: str
    branch: str
    topic: str
    name: str
    forgets: bool
    added: dict[str, Counter[str]] = field(default_factory=dict)
    bytes_added: int = 0
    digest: Digest = field(default_factory=Digest)

    def join(self, folder: str, paths: Iterable[str]) -> list[str]:
        """Joins files of a folder, and returns those that were joined. Raises _UnreadableError.

        A file with other columns, as an earlier version wrote it, is left as it is.
        """
        files = lake_files(self.settings)
        schema = _schema(self.topic, folder)
        order = [name for name in (CONTRACTS[self.topic].key, *_PLACE) if name in schema.names]
        read: list[str] = []

        def rows() -> Iterator[pa.RecordBatch]:
            for path in paths:
                with suppress(_OtherColumnsError):
                    for batch in _batches(files, f"{self.repository.name}/{self.base}/{path}", schema):
                        kept = _without_messages(batch) if self.forgets else batch
                        self.digest += digest_of([kept])
                        yield kept
                    read.append(path)

        limit = self.settings.compact_mb * 1_000_000
        for number, table in enumerate(gathered(rows(), limit, limit)):
            ordered = table.combine_chunks().sort_by([(column, "ascending") for column in order])
            del table
            sink = pa.BufferOutputStream()
            pq.write_table(ordered, sink, compression="zstd", compression_level=3, row_group_size=_GROUP_ROWS)
            content = sink.getvalue()
            path = compacted_path(folder, f"{self.name}-{number}")
            upload(files, f"{self.repository.name}/{self.branch}/{path}", content)
            self.added[path] = publications_in(ordered["publication_id"])
            self.bytes_added += content.size
            del ordered, sink, content
            give_back()
        return read


def _without_messages(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Quarantined rows without key and value; good rows as they are.

    The key of a message from an unknown station stays. It is the station's id, and `evcharge reconcile` needs to know which
    stations had events before they were registered.
    """
    if "kafka_value" not in batch.schema.names:
        return batch
    nothing = pa.nulls(batch.num_rows, pa.binary())
    keys = pc.if_else(pc.equal(batch["rule_code"], "UNKNOWN_STATION"), batch["kafka_key"], nothing)
    for name, column in (("kafka_key", keys), ("kafka_value", nothing)):
        index = batch.schema.get_field_index(name)
        batch = batch.set_column(index, batch.schema.field(index), column)
    return batch


def _batches(files: pyarrow.fs.FileSystem, name: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of a file, which is small: it is read with one request.

    Raises _UnreadableError, _OtherColumnsError, _NotGivenError.
    """
    try:
        with files.open_input_file(name) as source:
            content = source.read_buffer()
    except OSError as error:
        raise _NotGivenError(f"{name}: {error}") from error
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            if not file.schema_arrow.equals(schema):
                raise _OtherColumnsError(f"{name} has other columns than the contract")
            for group in range(file.num_row_groups):
                is_small = file.metadata.row_group(group).total_byte_size <= _READ_BYTES
                yield from file.iter_batches(_READ_ROWS if is_small else _FEW_ROWS, row_groups=[group])
    except (pa.ArrowException, OSError) as error:
        raise _UnreadableError(f"{name}: {error}") from error


def publications_in(ids: pa.Array | pa.ChunkedArray) -> Counter[str]:
    """How many rows each publication has."""
    return Counter({count["values"]: count["counts"] for count in pc.value_counts(ids).to_pylist()})


def check_compacted(
    settings: Settings,
    repository: Repository,
    base: str,
    commit: str,
    hours: Sequence[CompactedHour],
    others: set[str],
) -> dict[str, Figures]:
    """The gate before the merge: the branch changed what it should, and holds the same rows. Returns figures by topic.

    The new files are read back from the branch's commit. `others` are paths beside those of the hours that may change. Raises
    RefusedHourError, and RuntimeError if something else changed.
    """
    expected = set[tuple[str, str]]().union(*(hour.changes for hour in hours))
    found = {(kind, path) for kind, path in repository.diff(base, commit) if path not in others}
    if found != expected:
        raise RuntimeError(f"the branch changed other files than it should: {sorted(found ^ expected)[:10]}")
    figures: dict[str, Figures] = {}
    for hour in hours:
        figures.setdefault(hour.plan.hour.topic, Figures()).add(_checked(settings, repository, commit, hour))
        give_back()
    return figures


def _checked(settings: Settings, repository: Repository, commit: str, done: CompactedHour) -> Figures:
    """The figures of an hour whose rows are the same as before: by their hash, and by publication. Raises RefusedHourError."""
    hour, files = done.plan.hour, lake_files(settings)
    digest, found = Digest(), Counter[str]()
    for path, rows in done.added.items():
        here = Counter[str]()
        try:
            for batch in _batches(files, f"{repository.name}/{commit}/{path}", _schema(hour.topic, path)):
                digest += digest_of([batch])
                here += publications_in(batch["publication_id"])
        except (_UnreadableError, _OtherColumnsError) as error:
            raise RefusedHourError(hour, str(error)) from error
        if here != rows:
            raise RefusedHourError(hour, f"{path} has {here.total()} rows instead of {rows.total()}")
        found += here
    if digest != done.digest:
        raise RefusedHourError(hour, f"{digest.rows} rows of hash {digest}, before {done.digest.rows} of {done.digest}")
    expected = Counter[str]()
    for manifest in chain(*done.plan.manifests.values()):
        expected[manifest.publication_id] += sum(n for path, n in manifest.files.items() if path in done.removed)
    if found != +expected:
        raise RefusedHourError(hour, f"{found.total()} rows, but {expected.total()} by the manifests")
    return Figures(
        hours=1,
        rows=digest.rows,
        files_before=len(done.removed),
        files_after=len(done.added),
        bytes_before=sum(done.removed.values()),
        bytes_after=done.bytes_added,
        manifests_before=len(done.plan.manifests),
        manifests_after=1,
    )


def _schema(topic: str, path: str) -> pa.Schema:
    return raw_schema(CONTRACTS[topic]) if path.startswith("raw/") else QUARANTINE_SCHEMA

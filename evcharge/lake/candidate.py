"""Writes a range of Kafka records to a new branch and commits it there. Merges nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from evcharge.connections import spark_kafka_options
from evcharge.contracts import CONTRACTS, SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.disk import require_room
from evcharge.lake.ledger import Ledger, LedgerError, OffsetRange, RangePosition, read_ledger
from evcharge.lake.repository import Commit, Repository
from evcharge.log import log
from evcharge.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

#: Below this many rows one task writes them all. A task per partition would only make many small files.
ONE_TASK_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """Who publishes: the Dagster run, its root run (which its retries share), and the version of our code."""

    run_id: str
    root_run_id: str
    code_version: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a publication consists of. The lake keeps it under `_publications/`, beside the data.

    `files` maps a path to its number of rows; `event_dates` are the UTC dates of the good rows. `reached_dates` are the other
    UTC dates that finished sessions reach back into, None in a manifest of an earlier version.
    """

    publication_id: str
    topic: str
    range: dict[str, Any]
    ingest_hour: str
    attempt: int
    branch: str
    base_commit: str
    rows_read: int
    rows_good: int
    rows_quarantined: int
    quarantined_by_rule: dict[str, int]
    event_dates: list[str]
    files: dict[str, int]
    run_id: str
    root_run_id: str
    code_version: str
    reached_dates: list[str] | None = None

    @property
    def offsets(self) -> OffsetRange:
        return OffsetRange.from_json(self.range)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def metadata(self) -> dict[str, str]:
        """Commit metadata: everything but the list of files, which is too long for it when a year is replayed."""
        content = {k: v for k, v in self.to_json().items() if k != "files" and v is not None}
        content |= {"manifest": self.offsets.manifest_path, "files": len(self.files)}
        return {k: v if isinstance(v, str) else orjson.dumps(v).decode() for k, v in content.items()}


OnStep = Callable[[str], None]


def write_candidate(
    settings: Settings,
    repository: Repository,
    spark: SparkSession,
    planned: OffsetRange,
    attempt: int,
    run: RunIdentity,
    *,
    release: bool = False,
    on_step: OnStep = lambda step: None,
) -> tuple[Manifest, Commit]:
    """Writes the candidate of a range to the branch `ingest-<topic>-<range hash>-<attempt>`: data, manifest, ledger, commit.

    With `release` every row goes to quarantine under RELEASED: the way out for a range that cannot be published.
    `on_step` is called with the name of each step that is done. Raises LedgerError if the range does not begin where
    main's ledger ends, NoRoomError.
    """
    require_room(settings, "minio")
    # imported here: whoever only reads manifests needs neither Arrow nor Spark
    import pyarrow as pa

    from evcharge.lake.judge import judged
    from evcharge.lake.known_stations import known_stations, note_stations
    from evcharge.lake.last_places import from_bytes, places_after, read_last_places, write_last_places
    from evcharge.lake.rowfiles import FILE_DDL, LEFT_DDL, WRITTEN, RowFileWriter, SurelyGoodWriter
    from evcharge.lake.schemas import KAFKA_SCHEMA
    from evcharge.lake.surely_good import SurelyGood, can_pick

    contract = CONTRACTS[planned.topic]
    branch = planned.branch(attempt)
    base_commit = repository.create_branch(branch)
    # The manifest replaces the plan. If the attempt fails before that, the plan still says what the branch is for.
    repository.write_json(branch, planned.manifest_path, {"range": planned.to_json()})
    on_step("branch created")
    ledger = read_ledger(repository, planned.topic, base_commit)
    if ledger.position_of(planned) is not RangePosition.NEXT:
        raise LedgerError(
            f"{planned.publication_id}: main's ledger is at {ledger.offsets}, the range at {planned.start}"
        )
    writer = RowFileWriter(
        settings=settings,
        topic=planned.topic,
        branch=branch,
        ingest_hour=planned.ingest_hour,
        publication_id=planned.publication_id,
        file_prefix=f"{planned.hash}-{attempt}",
        generation=ledger.generation,
    )
    stations = known_stations(repository, base_commit) if contract is SESSION_EVENTS else None
    last_places = read_last_places(repository, base_commit) if contract is VEHICLE_TELEMETRY and not release else None
    # Spark's source needs both ends of every partition that it is assigned. Empty partitions are left out.
    partitions = [p for p in sorted(planned.end) if planned.end[p] > planned.start[p]]
    start, end = ({p: of[p] for p in partitions} for of in (planned.start, planned.end))
    rows = kafka_rows(settings, spark, planned.topic, start, end)
    carried: tuple[str, ...] = ()
    if planned.rows < ONE_TASK_ROWS:
        # for so few rows a second Python process costs more than it saves
        rows = rows.coalesce(1)
    elif stations is not None and not release and can_pick(contract):
        good = SurelyGood(settings, contract.topic, pa.array(sorted(stations), pa.string()))
        rows = rows.select(*KAFKA_SCHEMA.names)
        rows, carried = rows.mapInArrow(SurelyGoodWriter(writer, good), LEFT_DDL), (WRITTEN,)
    # exactly the range's records, each with the verdict of the row rules
    rows = judged(settings, rows, contract, stations, release=release, last_places=last_places, carried=carried)
    lines = rows.mapInArrow(writer, FILE_DDL).collect()
    on_step("rows written")
    if last_places is not None:
        new = [from_bytes(line.last_places) for line in lines if line.last_places]
        write_last_places(repository, branch, places_after(last_places, new))
        on_step("last places written")
    if contract is STATION_REGISTRY and note_stations(repository, branch, base_commit, [line.path for line in lines]):
        on_step("known stations written")
    rules: Counter[str] = Counter()
    for line in lines:
        rules.update(line.rule_counts or {})
    manifest = Manifest(
        publication_id=planned.publication_id,
        topic=planned.topic,
        range=planned.to_json(),
        ingest_hour=planned.ingest_hour,
        attempt=attempt,
        branch=branch,
        base_commit=base_commit,
        rows_read=sum(line.rows for line in lines),
        rows_good=sum(line.rows for line in lines if line.event_date),
        rows_quarantined=sum(line.rows for line in lines if not line.event_date),
        quarantined_by_rule=dict(sorted(rules.items())),
        event_dates=sorted({line.event_date for line in lines if line.event_date}),
        files={line.path: line.rows for line in sorted(lines, key=lambda line: line.path)},
        run_id=run.run_id,
        root_run_id=run.root_run_id,
        code_version=run.code_version,
        reached_dates=_reached_dates(lines),
    )
    repository.write_json(branch, planned.manifest_path, manifest.to_json())
    on_step("manifest written")
    repository.write_json(branch, Ledger.path(planned.topic), ledger.after(planned, attempt).to_json())
    on_step("ledger written")
    message = f"{planned.topic}: {manifest.rows_good} rows, {manifest.rows_quarantined} quarantined"
    commit = repository.commit(branch, message, manifest.metadata())
    on_step("candidate committed")
    log.info(
        "candidate committed",
        run_id=run.run_id,
        publication_id=planned.publication_id,
        ingest_hour=planned.ingest_hour,
        start=planned.start,
        end=planned.end,
        branch=branch,
        commit=commit.id,
        rows_good=manifest.rows_good,
        rows_quarantined=manifest.rows_quarantined,
    )
    return manifest, commit


def _reached_dates(lines: Sequence[Any]) -> list[str]:
    """The dates between a file's `reaches_to` and its `event_date`, for which there is no file. `lines` are of FILE_SCHEMA."""
    reached: set[date] = set()
    for line in lines:
        if line.reaches_to:
            first = date.fromisoformat(line.reaches_to)
            count = (date.fromisoformat(line.event_date) - first).days
            reached |= {first + timedelta(days=n) for n in range(count)}
    return sorted({day.isoformat() for day in reached} - {line.event_date for line in lines})


def kafka_rows(
    settings: Settings, spark: SparkSession, topic: str, start: dict[int, int], end: dict[int, int]
) -> DataFrame:
    """Spark's Kafka batch source over exactly start[p] <= offset < end[p]. It fails if any of these left the log."""

    def offsets(of: dict[int, int]) -> str:
        return orjson.dumps({topic: {str(p): o for p, o in of.items()}}).decode()

    return (
        spark.read.format("kafka")
        .options(**spark_kafka_options(settings))
        .option("assign", orjson.dumps({topic: sorted(start)}).decode())
        .option("startingOffsets", offsets(start))
        .option("endingOffsets", offsets(end))
        .load()
    )

"""The gates between a candidate and main: a candidate is merged only if it passes all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evcharge.connections import lake_files
from evcharge.contracts import CONTRACTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.lake.layout import KNOWN_STATIONS_PATH, LAST_PLACES_PATH, is_compacted
from evcharge.lake.ledger import Ledger
from evcharge.lake.repository import Repository
from evcharge.settings import Settings

if TYPE_CHECKING:
    import pyarrow.fs

    from evcharge.lake.candidate import Manifest


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a publication passes a gate, why, and the figures that decided it."""

    passed: bool
    message: str
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate: its name, its rule, and the function that judges the files of a manifest at a ref (branch or commit).

    `judged_on_main` says whether the gate can also judge a publication that is on main already.
    """

    name: str
    rule: str
    description: str
    judge: Callable[[Settings, Repository, Manifest, str], Verdict]
    judged_on_main: bool = True


#: What a publication of a topic may change beside its own files. It stays as it is where no car reported a good place, or no
#: station is new.
_SUMMARIES = {VEHICLE_TELEMETRY.topic: LAST_PLACES_PATH, STATION_REGISTRY.topic: KNOWN_STATIONS_PATH}


def _judge_diff(settings: Settings, repository: Repository, manifest: Manifest, ref: str) -> Verdict:
    changed = repository.diff(manifest.base_commit, ref)
    expected = {*manifest.files, manifest.offsets.manifest_path, Ledger.path(manifest.topic)}
    found = {path for _, path in changed}
    removed = [path for kind, path in changed if kind == "removed"]
    unexpected, missing = sorted(found - expected - {_SUMMARIES.get(manifest.topic, "")}), sorted(expected - found)
    return Verdict(
        not (unexpected or missing or removed),
        f"{len(found)} paths changed, {len(unexpected)} unexpected, {len(missing)} missing, {len(removed)} removed",
        {"unexpected": unexpected[:10], "missing": missing[:10], "removed": removed[:10]},
    )


def _judge_rows(settings: Settings, repository: Repository, manifest: Manifest, ref: str) -> Verdict:
    files = lake_files(settings)
    wrong = []
    for path, rows in manifest.files.items():
        found = _rows_of(manifest.publication_id, files, f"{repository.name}/{ref}/{path}")
        if found != rows:
            wrong.append(f"{path}: {found} rows instead of {rows}")
    planned = manifest.offsets.rows
    added_up = manifest.rows_good + manifest.rows_quarantined
    return Verdict(
        planned == manifest.rows_read == added_up == sum(manifest.files.values()) and not wrong,
        f"{planned} offsets, {manifest.rows_read} read, {manifest.rows_good} good, {manifest.rows_quarantined} quarantined",
        {"wrong_files": wrong[:10]},
    )


def _rows_of(publication_id: str, files: pyarrow.fs.FileSystem, path: str) -> int:
    """The number of a publication's rows in a file, which after a compaction has those of others too."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not is_compacted(path):
        return int(pq.read_metadata(path, filesystem=files).num_rows)
    ids = pq.read_table(path, columns=["publication_id"], filesystem=files, partitioning=None)["publication_id"]
    return pc.sum(pc.equal(ids, publication_id)).as_py() or 0


def _judge_schema(settings: Settings, repository: Repository, manifest: Manifest, ref: str) -> Verdict:
    import pyarrow.parquet as pq

    from evcharge.lake.schemas import QUARANTINE_SCHEMA, raw_schema

    files = lake_files(settings)
    raw = raw_schema(CONTRACTS[manifest.topic])
    wrong = []
    for path in manifest.files:
        schema = pq.read_schema(f"{repository.name}/{ref}/{path}", filesystem=files)
        if not schema.equals(QUARANTINE_SCHEMA if path.startswith("quarantine/") else raw):
            wrong.append(path)
    return Verdict(not wrong, f"{len(wrong)} files of another schema", {"wrong": wrong[:10]})


def _judge_quarantine(settings: Settings, repository: Repository, manifest: Manifest, ref: str) -> Verdict:
    share = manifest.rows_quarantined / max(1, manifest.rows_read)
    released = manifest.quarantined_by_rule.get("RELEASED", 0) == manifest.rows_read
    few = manifest.rows_quarantined <= settings.quarantine_rows_allowed
    return Verdict(
        few or share <= settings.quarantine_share_limit or released,
        f"{manifest.rows_quarantined} of {manifest.rows_read} rows quarantined ({share:.1%}), "
        f"limit {settings.quarantine_share_limit:.0%} above {settings.quarantine_rows_allowed} rows",
        {"share": round(share, 6), **manifest.quarantined_by_rule},
    )


GATES = (
    Gate(
        "diff_matches_manifest",
        "DIFF_IS_MANIFEST",
        "the branch changed the manifest's files, manifest and ledger, and nothing else.",
        _judge_diff,
        judged_on_main=False,
    ),
    Gate(
        "rows_accounted_for",
        "ROWS_ADD_UP",
        "rows read = last offset - first offset = good + quarantined, and the files hold that many rows.",
        _judge_rows,
    ),
    Gate(
        "schema_is_contract",
        "SCHEMA_IS_CONTRACT",
        "every file has the columns and types that the contract gives.",
        _judge_schema,
    ),
    Gate(
        "quarantine_within_limit",
        "QUARANTINE_SHARE",
        "at most `quarantine_rows_allowed` rows or `quarantine_share_limit` of them are quarantined.\n\n"
        "A released range (every row RELEASED) passes: somebody decided so.",
        _judge_quarantine,
    ),
)

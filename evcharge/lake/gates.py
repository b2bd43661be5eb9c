"""The gates between a candidate and main: a candidate is merged only if it passes all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from evcharge.connections import lake_files
from evcharge.contracts import CONTRACTS, VEHICLE_TELEMETRY
from evcharge.lake import last_places
from evcharge.lake.candidate import Manifest
from evcharge.lake.layout import QUARANTINE_SCHEMA, raw_schema
from evcharge.lake.ledger import Ledger
from evcharge.lake.repository import Repository
from evcharge.settings import Settings


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


def _judge_diff(settings: Settings, repository: Repository, manifest: Manifest, ref: str) -> Verdict:
    changed = repository.diff(manifest.base_commit, ref)
    expected = {*manifest.files, manifest.offsets.manifest_path, Ledger.path(manifest.topic)}
    found = {path for _, path in changed}
    removed = [path for kind, path in changed if kind == "removed"]
    # It stays as it is where no car reported a good place.
    allowed = {last_places.PATH} if manifest.topic == VEHICLE_TELEMETRY.topic else set()
    unexpected, missing = sorted(found - expected - allowed), sorted(expected - found)
    return Verdict(
        not (unexpected or missing or removed),
        f"{len(found)} paths changed, {len(unexpected)} unexpected, {len(missing)} missing, {len(removed)} removed",
        {"unexpected": unexpected[:10], "missing": missing[:10], "removed": removed[:10]},
    )


def _judge_rows(settings: Settings, repository: Repository, manifest: Manifest, ref: str) -> Verdict:
    files = lake_files(settings)
    wrong = []
    for path, rows in manifest.files.items():
        found = pq.read_metadata(f"{repository.name}/{ref}/{path}", filesystem=files).num_rows
        if found != rows:
            wrong.append(f"{path}: {found} rows instead of {rows}")
    planned = manifest.offsets.rows
    added_up = manifest.rows_good + manifest.rows_quarantined
    return Verdict(
        planned == manifest.rows_read == added_up == sum(manifest.files.values()) and not wrong,
        f"{planned} offsets, {manifest.rows_read} read, {manifest.rows_good} good, {manifest.rows_quarantined} quarantined",
        {"wrong_files": wrong[:10]},
    )


def _judge_schema(settings: Settings, repository: Repository, manifest: Manifest, ref: str) -> Verdict:
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

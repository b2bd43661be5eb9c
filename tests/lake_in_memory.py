"""A platform whose lake is a dict of JSON files and a dict of branches. The integration tests have a real lakeFS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.candidate import Manifest
from evcharge.lake.ledger import Ledger, OffsetRange
from evcharge.lake.repository import Commit, Repository
from evcharge.settings import Settings, load_settings
from evcharge_assets.jobs import publish_job_name
from evcharge_assets.resources import Platform

TOPIC = SESSION_EVENTS.topic
JOB = publish_job_name(TOPIC)


class LakeInMemory(Repository):
    """As much of the lake as publishing needs: JSON files, the same on every ref, and candidates on branches."""

    def __init__(self) -> None:
        self.name = "lake"
        self.files: dict[str, dict[str, Any]] = {}
        self.candidates: dict[str, Commit] = {}
        #: the prefixes by which branches were listed
        self.listings: list[str] = []
        #: what a branch has that its manifest does not name
        self.stray: list[str] = []
        self.merged: list[str] = []
        #: the UTC dates of the good rows of candidates
        self.event_dates: list[str] = []

    def read_json(self, ref: str, path: str) -> dict[str, Any] | None:
        return self.files.get(path)

    def has_branch(self, name: str) -> bool:
        return name in self.candidates

    def branches(self, prefix: str = "") -> Iterator[tuple[str, str]]:
        self.listings.append(prefix)
        return iter([(name, commit.id) for name, commit in self.candidates.items() if name.startswith(prefix)])

    def commit_of(self, commit_id: str) -> Commit:
        return next(commit for commit in self.candidates.values() if commit.id == commit_id)

    def diff(self, left: str, right: str, *, prefix: str = "", is_past: bool = False) -> list[tuple[str, str]]:
        metadata = self.commit_of(right).metadata
        paths = [*self.files[metadata["manifest"]]["files"], metadata["manifest"], Ledger.path(metadata["topic"])]
        return [("added", path) for path in [*paths, *self.stray]]

    def merge(self, source: str, message: str, metadata: dict[str, str]) -> str:
        self.merged.append(source)
        return "merge-commit"

    def delete_branch(self, name: str) -> None:
        del self.candidates[name]

    def leave_candidate(self, manifest: Manifest) -> Commit:
        """Leaves the candidate of a manifest on its branch."""
        commit = Commit(f"commit-of-{manifest.branch}", "", manifest.offsets.planned_at, manifest.metadata())
        self.candidates[manifest.branch] = commit
        self.files[manifest.offsets.manifest_path] = manifest.to_json()
        return commit

    def publish(self, planned: OffsetRange) -> None:
        """Moves the ledger to the range's end."""
        former = Ledger(planned.topic, "", {}, 0, "", 0, None)
        self.files[Ledger.path(planned.topic)] = former.after(planned, 1).to_json()


class PlatformInMemory(Platform):
    lake: ClassVar[LakeInMemory]

    def settings(self) -> Settings:
        return load_settings()

    def repository(self) -> Repository:
        return self.lake


def manifest_of(planned: OffsetRange, attempt: int = 1, run_id: str = "run", root_run_id: str = "run") -> Manifest:
    """A manifest of the range: all rows quarantined, in one file."""
    return Manifest(
        publication_id=planned.publication_id,
        topic=planned.topic,
        range=planned.to_json(),
        ingest_hour=planned.ingest_hour,
        attempt=attempt,
        branch=planned.branch(attempt),
        base_commit="base",
        rows_read=planned.rows,
        rows_good=0,
        rows_quarantined=planned.rows,
        quarantined_by_rule={"MALFORMED_JSON": planned.rows},
        event_dates=[],
        files={f"quarantine/{planned.topic}/part.parquet": planned.rows},
        run_id=run_id,
        root_run_id=root_run_id,
        code_version="test",
    )

"""A lake whose refs are folders on disk: branches, commits, merges and conflicts as lakeFS has them, without servers.

Modules that open the lake's files get them from these folders too (`install`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import pyarrow.fs
import pytest
from fsspec.implementations.dirfs import DirFileSystem  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from evcharge.lake.repository import MAIN, Commit, MergeConflictError, Repository
from evcharge.settings import Settings

_USE_FILES = ("repository", "rows", "gates", "compaction", "last_places", "known_stations", "requeue")


class LakeInFolders(Repository):
    """A folder for each branch and commit. A merge is a commit on main, whose first parent is main's former head."""

    def __init__(self, settings: Settings, root: Path) -> None:
        self.settings, self.name = settings, settings.lake_repository
        self.root = root / self.name
        self.history_days = 0
        self._log: list[Commit] = []
        #: of each branch and commit, the commit that it starts from
        self._base: dict[str, str] = {}
        self._heads: dict[str, str] = {}
        self._commits: dict[str, Commit] = {}
        (self.root / MAIN).mkdir(parents=True)
        self._commit_main("first", {})

    def _commit_main(self, message: str, metadata: dict[str, str]) -> str:
        commit = self._saved(MAIN, message, metadata)
        self._log.insert(0, commit)
        return commit.id

    def _saved(self, branch: str, message: str, metadata: dict[str, str]) -> Commit:
        commit = Commit(f"{len(self._commits) + 1:064x}", message, datetime.now(UTC), dict(metadata))
        shutil.copytree(self.root / branch, self.root / commit.id)
        self._commits[commit.id] = commit
        return commit

    def commit_of(self, commit_id: str) -> Commit:
        return self._commits[commit_id]

    def _files(self, ref: str) -> dict[str, Path]:
        folder = self.root / ref
        return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}

    def read(self, ref: str, path: str) -> bytes | None:
        found = self.root / ref / path
        return found.read_bytes() if found.is_file() else None

    def sizes(self, ref: str, prefix: str, *, after: str = "") -> Iterator[tuple[str, int]]:
        found = ((path, file.stat().st_size) for path, file in sorted(self._files(ref).items()))
        return iter([(path, size) for path, size in found if path.startswith(prefix) and path > after])

    def delete(self, branch: str, paths: Sequence[str]) -> None:
        for path in paths:
            (self.root / branch / path).unlink()

    def head(self, ref: str = MAIN) -> Commit:
        return self._log[0] if ref == MAIN else self._commits[self._heads[ref]]

    def uncommitted(self, branch: str, prefix: str = "") -> list[str]:
        return [path for _, path in self.diff(self._heads[branch], branch, prefix=prefix)]

    def keep_history(self, days: int) -> bool:
        is_new, self.history_days = self.history_days != days, days
        return is_new

    def create_branch(self, name: str, source: str = MAIN) -> str:
        base = self._log[0].id if source == MAIN else source
        shutil.copytree(self.root / base, self.root / name)
        self._base[name] = self._heads[name] = base
        return base

    def delete_branch(self, name: str) -> None:
        shutil.rmtree(self.root / name, ignore_errors=True)
        self._base.pop(name, None)
        self._heads.pop(name, None)

    def has_branch(self, name: str) -> bool:
        return name in self._heads

    def branches(self, prefix: str = "") -> Iterator[tuple[str, str]]:
        found = {MAIN: self._log[0].id, **self._heads}
        return iter(sorted((name, commit) for name, commit in found.items() if name.startswith(prefix)))

    def commit(self, branch: str, message: str, metadata: dict[str, str]) -> Commit:
        commit = self._saved(branch, message, metadata)
        self._heads[branch] = commit.id
        return commit

    def merge(self, source: str, message: str, metadata: dict[str, str]) -> str:
        base, ours, theirs = (
            {path: file.read_bytes() for path, file in self._files(ref).items()}
            for ref in (self._base[source], MAIN, source)
        )
        changed = {path for path in base.keys() | theirs.keys() if base.get(path) != theirs.get(path)}
        if any(ours.get(path) not in (base.get(path), theirs.get(path)) for path in changed):
            raise MergeConflictError(f"{source} conflicts with {MAIN}")
        for path in changed:
            file = self.root / MAIN / path
            if path in theirs:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(theirs[path])
            else:
                file.unlink(missing_ok=True)
        return self._commit_main(message, metadata)

    def diff(self, left: str, right: str, *, prefix: str = "", is_past: bool = False) -> list[tuple[str, str]]:
        before, after = (
            {path: file for path, file in self._files(ref).items() if path.startswith(prefix)} for ref in (left, right)
        )
        found = [("removed", path) for path in before.keys() - after.keys()]
        found += [("added", path) for path in after.keys() - before.keys()]
        both = before.keys() & after.keys()
        found += [("changed", path) for path in both if before[path].read_bytes() != after[path].read_bytes()]
        return sorted(found)

    def log(self, ref: str = MAIN, *, stop_at: str | None = None) -> Iterator[Commit]:
        seen = ref == MAIN
        for commit in self._log:
            seen = seen or commit.id == ref
            if commit.id == stop_at:
                return
            if seen:
                yield commit

    def write(self, branch: str, path: str, content: bytes) -> None:
        file = self.root / branch / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def install(settings: Settings, root: Path, monkeypatch: pytest.MonkeyPatch) -> LakeInFolders:
    """A new lake below `root`, which the modules of `evcharge.lake` read and write."""
    files = pyarrow.fs.PyFileSystem(
        pyarrow.fs.FSSpecHandler(DirFileSystem(str(root), LocalFileSystem(auto_mkdir=True)))
    )
    for name in _USE_FILES:
        monkeypatch.setattr(import_module(f"evcharge.lake.{name}"), "lake_files", lambda _: files)
    return LakeInFolders(settings, root)

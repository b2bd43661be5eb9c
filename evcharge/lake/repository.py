"""The lakeFS calls that the platform makes, with timeouts, bounded retries of what is safe to repeat, and clear errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import lakefs_sdk
import orjson
from lakefs_sdk.exceptions import ApiException, NotFoundException
from urllib3.exceptions import HTTPError

from evcharge.connections import REQUEST_TIMEOUT_S, lake_files, lakefs_client, server_down
from evcharge.settings import Settings

T = TypeVar("T")

MAIN = "main"
_PAGE = 1_000


class MergeConflictError(RuntimeError):
    """Another publication changed the same files on main since the branch was made."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A lakeFS commit. `metadata` values are strings, as lakeFS keeps them."""

    id: str
    message: str
    created_at: datetime
    metadata: dict[str, str]


class Repository:
    """One lakeFS repository. Raises ServerDownError when lakeFS does not answer, after three tries of a read."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.name = settings.lake_repository
        client = lakefs_client(settings)
        self._objects = lakefs_sdk.ObjectsApi(client)
        self._branches = lakefs_sdk.BranchesApi(client)
        self._commits = lakefs_sdk.CommitsApi(client)
        self._refs = lakefs_sdk.RefsApi(client)

    def _call(self, call: Callable[..., T], *args: Any, tries: int = 3, **kwargs: Any) -> T:
        for attempt in range(1, tries + 1):
            try:
                return call(self.name, *args, _request_timeout=REQUEST_TIMEOUT_S, **kwargs)
            except HTTPError as error:
                if attempt == tries:
                    raise server_down(self.settings, "lakefs", self.settings.lakefs_endpoint, error) from error
            except ApiException as error:
                if error.status is None or error.status < 500 or attempt == tries:
                    raise
            time.sleep(0.5 * 2**attempt)
        raise AssertionError("unreachable")

    def read(self, ref: str, path: str) -> bytes | None:
        """The object's bytes, None if there is none."""
        try:
            return bytes(self._call(self._objects.get_object, ref, path))
        except NotFoundException:
            return None

    def read_json(self, ref: str, path: str) -> dict[str, Any] | None:
        content = self.read(ref, path)
        return None if content is None else orjson.loads(content)

    def write_json(self, branch: str, path: str, content: dict[str, Any]) -> None:
        # Through the S3 gateway: the SDK uploads files only, and by the name of a local one.
        content_bytes = orjson.dumps(content, option=orjson.OPT_INDENT_2)
        with lake_files(self.settings).open_output_stream(f"{self.name}/{branch}/{path}") as stream:
            stream.write(content_bytes)

    def paths(self, ref: str, prefix: str) -> Iterator[str]:
        """Paths that start with `prefix`, sorted."""
        after = ""
        while True:
            page = self._call(self._objects.list_objects, ref, prefix=prefix, after=after, amount=_PAGE, presign=False)
            yield from (entry.path for entry in page.results)
            if not page.pagination.has_more:
                return
            after = page.pagination.next_offset

    def head(self, ref: str = MAIN) -> Commit:
        """The commit that a branch points to."""
        return self.commit_of(str(self._call(self._branches.get_branch, ref).commit_id))

    def commit_of(self, commit_id: str) -> Commit:
        return _commit(self._call(self._commits.get_commit, commit_id))

    def create_branch(self, name: str, source: str = MAIN) -> str:
        """Makes a branch and returns the commit it starts from. 409 from lakeFS if the name is taken."""
        creation = lakefs_sdk.BranchCreation(name=name, source=source)
        return str(self._call(self._branches.create_branch, creation, tries=1))

    def delete_branch(self, name: str) -> None:
        try:
            self._call(self._branches.delete_branch, name)
        except NotFoundException:
            return

    def branches(self, prefix: str = "") -> Iterator[tuple[str, str]]:
        """Names and commit ids of the branches whose name starts with `prefix`."""
        after = ""
        while True:
            page = self._call(self._branches.list_branches, prefix=prefix, after=after, amount=_PAGE)
            yield from ((ref.id, ref.commit_id) for ref in page.results)
            if not page.pagination.has_more:
                return
            after = page.pagination.next_offset

    def commit(self, branch: str, message: str, metadata: dict[str, str]) -> Commit:
        creation = lakefs_sdk.CommitCreation(message=message, metadata=metadata)
        return _commit(self._call(self._commits.commit, branch, creation, tries=1))

    def merge(self, source: str, message: str, metadata: dict[str, str]) -> str:
        """Plain merge of `source` into main; the merge commit's id. Raises MergeConflictError."""
        # Neither squashed nor with a strategy: a squash merge succeeds twice, and a strategy hides a lost race.
        merge = lakefs_sdk.Merge(message=message, metadata=metadata, force=False, allow_empty=False, squash_merge=False)
        try:
            return str(self._call(self._refs.merge_into_branch, source, MAIN, merge, tries=1).reference)
        except ApiException as error:
            if error.status == 409:
                raise MergeConflictError(f"{source} conflicts with {MAIN}") from error
            raise

    def diff(self, left: str, right: str) -> list[tuple[str, str]]:
        """What `right` changed against `left`: (added|removed|changed, path)."""
        found: list[tuple[str, str]] = []
        after = ""
        while True:
            page = self._call(self._refs.diff_refs, left, right, after=after, amount=_PAGE)
            found += [(entry.type, entry.path) for entry in page.results]
            if not page.pagination.has_more:
                return found
            after = page.pagination.next_offset

    def log(self, ref: str = MAIN, *, stop_at: str | None = None, first_parent: bool = True) -> Iterator[Commit]:
        """Commits from `ref` back to `stop_at` (not included), newest first, along the first parent."""
        after = ""
        while True:
            options: dict[str, Any] = {"stop_at": stop_at} if stop_at else {}
            page = self._call(
                self._refs.log_commits, ref, after=after, amount=_PAGE, first_parent=first_parent, **options
            )
            for entry in page.results:
                if entry.id == stop_at:
                    return
                yield _commit(entry)
            if not page.pagination.has_more:
                return
            after = page.pagination.next_offset


def _commit(entry: Any) -> Commit:
    return Commit(
        id=entry.id,
        message=entry.message,
        created_at=datetime.fromtimestamp(entry.creation_date, UTC),
        metadata=dict(entry.metadata or {}),
    )

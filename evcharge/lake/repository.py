"""The lakeFS calls that the platform makes, each with a timeout and clear errors. `lakefs_client` sets the retries.

The SDK is imported by whoever makes calls: it takes two seconds of processor time, and many only name a repository.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson

from evcharge.connections import REQUEST_TIMEOUT_S, lake_files, lakefs_client, server_down
from evcharge.settings import Settings

T = TypeVar("T")

MAIN = "main"
_PAGE = 1_000
#: Most questions about main's log end after a few commits, and a page of a thousand takes lakeFS a tenth of a second.
_FIRST_COMMITS = 10


class MergeConflictError(RuntimeError):
    """Since the branch was made, another publication has changed the same files on main."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A lakeFS commit. The values of its metadata are strings."""

    id: str
    message: str
    created_at: datetime
    metadata: dict[str, str]


class Repository:
    """One lakeFS repository. Every call raises ServerDownError if lakeFS does not answer, ApiException if it refuses."""

    def __init__(self, settings: Settings) -> None:
        import lakefs_sdk

        self.settings = settings
        self.name = settings.lake_repository
        client = lakefs_client(settings)
        self._objects = lakefs_sdk.ObjectsApi(client)
        self._branches = lakefs_sdk.BranchesApi(client)
        self._commits = lakefs_sdk.CommitsApi(client)
        self._refs = lakefs_sdk.RefsApi(client)
        self._repositories = lakefs_sdk.RepositoriesApi(client)

    def _call(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        from urllib3.exceptions import HTTPError

        try:
            return call(self.name, *args, _request_timeout=REQUEST_TIMEOUT_S, **kwargs)
        except HTTPError as error:
            raise server_down(self.settings, "lakefs", self.settings.lakefs_endpoint, error) from error

    def read(self, ref: str, path: str) -> bytes | None:
        """The object's bytes; None if there is no such object."""
        from lakefs_sdk.exceptions import NotFoundException

        try:
            return bytes(self._call(self._objects.get_object, ref, path))
        except NotFoundException:
            return None

    def read_json(self, ref: str, path: str) -> dict[str, Any] | None:
        """The object's JSON; None if there is no such object."""
        content = self.read(ref, path)
        return None if content is None else orjson.loads(content)

    def write_json(self, branch: str, path: str, content: dict[str, Any]) -> None:
        # through the S3 gateway: the SDK uploads only local files, by name
        content_bytes = orjson.dumps(content, option=orjson.OPT_INDENT_2)
        with lake_files(self.settings).open_output_stream(f"{self.name}/{branch}/{path}") as stream:
            stream.write(content_bytes)

    def paths(self, ref: str, prefix: str, *, after: str = "") -> Iterator[str]:
        """Paths at `ref` that start with `prefix` and come after `after`, sorted."""
        return (path for path, _ in self.sizes(ref, prefix, after=after))

    def sizes(self, ref: str, prefix: str, *, after: str = "") -> Iterator[tuple[str, int]]:
        """Paths at `ref` that start with `prefix` and come after `after`, sorted, and the bytes of each."""
        while True:
            page = self._call(self._objects.list_objects, ref, prefix=prefix, after=after, amount=_PAGE, presign=False)
            yield from ((entry.path, entry.size_bytes or 0) for entry in page.results)
            if not page.pagination.has_more:
                return
            after = page.pagination.next_offset

    def delete(self, branch: str, paths: Sequence[str]) -> None:
        """Deletes objects from a branch. Raises RuntimeError for one that lakeFS does not delete."""
        import lakefs_sdk

        for start in range(0, len(paths), _PAGE):
            page = lakefs_sdk.PathList(paths=paths[start : start + _PAGE])
            if errors := self._call(self._objects.delete_objects, branch, page).errors:
                raise RuntimeError(f"{errors[0].path} is not deleted from {branch}: {errors[0].message}")

    def head(self, ref: str = MAIN) -> Commit:
        """The newest commit of a branch."""
        return self.commit_of(str(self._call(self._branches.get_branch, ref).commit_id))

    def commit_of(self, commit_id: str) -> Commit:
        return _commit(self._call(self._commits.get_commit, commit_id))

    def create_branch(self, name: str, source: str = MAIN) -> str:
        """Makes a branch and returns the id of the commit that it starts from. ApiException 409 if the name is taken."""
        import lakefs_sdk

        creation = lakefs_sdk.BranchCreation(name=name, source=source)
        return str(self._call(self._branches.create_branch, creation))

    def delete_branch(self, name: str) -> None:
        """Deletes a branch, if there is one of that name."""
        from lakefs_sdk.exceptions import NotFoundException

        try:
            self._call(self._branches.delete_branch, name)
        except NotFoundException:
            return

    def has_branch(self, name: str) -> bool:
        from lakefs_sdk.exceptions import NotFoundException

        try:
            self._call(self._branches.get_branch, name)
        except NotFoundException:
            return False
        return True

    def branches(self, prefix: str = "") -> Iterator[tuple[str, str]]:
        """Names and commit ids of the branches whose name starts with `prefix`.

        lakeFS passes by every branch that was deleted, for some 2 µs each: what each publication does must not ask for this.
        """
        after = ""
        while True:
            page = self._call(self._branches.list_branches, prefix=prefix, after=after, amount=_PAGE)
            yield from ((ref.id, ref.commit_id) for ref in page.results)
            if not page.pagination.has_more:
                return
            after = page.pagination.next_offset

    def uncommitted(self, branch: str, prefix: str = "") -> list[str]:
        """Paths that start with `prefix` and were changed on a branch since its last commit; at most a thousand."""
        page = self._call(self._branches.diff_branch, branch, prefix=prefix, amount=_PAGE)
        return [entry.path for entry in page.results]

    def keep_history(self, days: int) -> bool:
        """Has lakeFS' garbage collection keep what main no longer has for `days`. Returns whether that is new."""
        import lakefs_sdk
        from lakefs_sdk.exceptions import NotFoundException

        try:
            if self._call(self._repositories.get_gc_rules).default_retention_days == days:
                return False
        except (NotFoundException, ValueError):
            pass  # there are none yet, or none for a branch, which the SDK cannot read
        main = lakefs_sdk.GarbageCollectionRule(branch_id=MAIN, retention_days=days)
        rules = lakefs_sdk.GarbageCollectionRules(default_retention_days=days, branches=[main])
        self._call(self._repositories.set_gc_rules, rules)
        return True

    def commit(self, branch: str, message: str, metadata: dict[str, str]) -> Commit:
        import lakefs_sdk

        creation = lakefs_sdk.CommitCreation(message=message, metadata=metadata)
        return _commit(self._call(self._commits.commit, branch, creation))

    def merge(self, source: str, message: str, metadata: dict[str, str]) -> str:
        """Merges `source` into main and returns the id of the merge commit. Raises MergeConflictError."""
        import lakefs_sdk
        from lakefs_sdk.exceptions import ApiException

        # A plain merge: a squash merge of the same branch succeeds twice, and a merge strategy hides a lost race.
        merge = lakefs_sdk.Merge(message=message, metadata=metadata, force=False, allow_empty=False, squash_merge=False)
        try:
            return str(self._call(self._refs.merge_into_branch, source, MAIN, merge).reference)
        except ApiException as error:
            if error.status == 409:
                raise MergeConflictError(f"{source} conflicts with {MAIN}") from error
            raise

    def diff(self, left: str, right: str, *, prefix: str = "", is_past: bool = False) -> list[tuple[str, str]]:
        """What `right` changed against `left` below a prefix: pairs of added, removed or changed, and the path.

        With `is_past` the caller knows that `left` lies in the past of `right`. Else lakeFS looks for where they parted, one
        commit at a time: after its start 1,500 publications took it 23 s.
        """
        found: list[tuple[str, str]] = []
        after, kind = "", "two_dot" if is_past else "three_dot"
        while True:
            page = self._call(self._refs.diff_refs, left, right, after=after, amount=_PAGE, prefix=prefix, type=kind)
            found += [(entry.type, entry.path) for entry in page.results]
            if not page.pagination.has_more:
                return found
            after = page.pagination.next_offset

    def log(self, ref: str = MAIN, *, stop_at: str | None = None) -> Iterator[Commit]:
        """Commits from `ref` back to `stop_at` (not included), newest first.

        Only the first parent of a merge is followed: on main these are the publications.
        """
        begin, known, amount = ref, 0, _FIRST_COMMITS
        options: dict[str, Any] = {"stop_at": stop_at} if stop_at else {}
        while True:
            page = self._call(self._refs.log_commits, begin, amount=amount, first_parent=True, **options)
            amount = min(10 * amount, _PAGE)
            for entry in page.results[known:]:
                if entry.id == stop_at:
                    return
                yield _commit(entry)
            if not page.pagination.has_more:
                return
            # From the last commit and not `after` it: lakeFS would walk there from `ref` for each page.
            begin, known = page.results[-1].id, 1


def _commit(entry: Any) -> Commit:
    return Commit(
        id=entry.id,
        message=entry.message,
        created_at=datetime.fromtimestamp(entry.creation_date, UTC),
        metadata=dict(entry.metadata or {}),
    )

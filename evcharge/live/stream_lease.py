"""Which stream of all machines works: the one that holds the lease in Elasticsearch, and renews it.

On one machine the lock file decides (`stream_lock`), and a stream that finds its own machine's lease takes it at once. A stream
on another machine waits until the lease has not been renewed for `EXPIRES_AFTER_S`. It counts by its own clock from the
instant at which it saw the lease change, so that no clock of another machine matters.

Nothing that is written depends on the lease: a document is written only in the version that was read. Two streams would do the
same work twice.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from evcharge.live.indices import STREAM_LEASE
from evcharge.live.stream_lock import StreamError
from evcharge.log import log
from evcharge.settings import Settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

RENEWED_EVERY_S = 3.0
#: Several renewals: one may come late on a busy machine.
EXPIRES_AFTER_S = 15.0
LOOK_EVERY_S = 1.0
_ID = "stream"


class Lease:
    """The lease of one stream, `holder`, which runs at a `place`: a home on a machine."""

    def __init__(self, client: Elasticsearch, holder: str, place: str) -> None:
        self._client, self._holder, self._place = client, holder, place
        self._version: dict[str, int] = {}
        self._renewed_at = 0.0

    def take(self, stop: Event) -> bool:
        """Waits until the lease is this stream's. False if `stop` was set before. Raises the client's errors."""
        from elasticsearch import ConflictError

        seen: dict[str, int] = {}
        since = time.monotonic()
        while not stop.is_set():
            lease, version = self._read()
            if version != seen:
                if not seen and lease.get("place") not in (None, self._place):
                    log.info("another stream had the lease", holder=lease["holder"], place=lease["place"])
                seen, since = version, time.monotonic()
            expired = time.monotonic() - since >= EXPIRES_AFTER_S
            if not lease.get("holder") or lease["place"] == self._place or expired:
                try:
                    self._write(self._holder, version)
                except ConflictError:
                    continue
                return True
            stop.wait(LOOK_EVERY_S)
        return False

    def renew(self) -> None:
        """Renews the lease if it is time. Raises StreamError if another stream has it, the client's errors."""
        from elasticsearch import ConflictError

        if time.monotonic() - self._renewed_at < RENEWED_EVERY_S:
            return
        try:
            self._write(self._holder, self._version)
        except ConflictError:
            lease, version = self._read()
            # its own: an answer got lost; none: somebody removed the index
            if lease.get("holder") not in (None, self._holder):
                raise StreamError(f"another stream has the lease, at {lease['place']}") from None
            self._version = version

    def release(self) -> None:
        """Gives the lease up, if it still is this stream's. Raises the client's errors."""
        from elasticsearch import ConflictError

        if not self._version:
            return
        try:
            self._write(None, self._version)
        except ConflictError:
            log.warning("the lease was another's already")

    def _read(self) -> tuple[dict[str, Any], dict[str, int]]:
        """The lease and its version; both empty if there is none."""
        from elasticsearch import NotFoundError

        try:
            found = self._client.get(index=STREAM_LEASE, id=_ID)
        except NotFoundError:
            return {}, {}
        return found["_source"], {"if_seq_no": found["_seq_no"], "if_primary_term": found["_primary_term"]}

    def _write(self, holder: str | None, version: dict[str, int]) -> None:
        condition: dict[str, Any] = version or {"op_type": "create"}
        written = self._client.index(
            index=STREAM_LEASE,
            id=_ID,
            document={"holder": holder, "place": self._place},
            require_alias=True,
            **condition,
        )
        self._version = {"if_seq_no": written["_seq_no"], "if_primary_term": written["_primary_term"]}
        self._renewed_at = time.monotonic()


def place_of(settings: Settings) -> str:
    """This machine, until it starts again, and the platform's home."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    started = boot.read_text().strip() if boot.exists() else ""
    return f"{socket.gethostname()}:{started}:{settings.home}"

"""What of a platform that starts is not there yet: `make up` writes it, pages and `make status` read it.

The file `<home>/coming.json` is a list of `{"what", "state", "detail"}`. It exists while something is still to come. Its writer
touches it every few seconds, so a reader knows whether somebody still works on it. A lock would not tell the dashboard, which
may write nothing in the home.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Lock, Thread

import orjson

from evcharge import lock
from evcharge.settings import Settings

#: A changed detail alone is written this often.
DETAIL_EVERY_S = 2.0
#: The writer touches the file this often.
TOUCHED_EVERY_S = 5.0
#: After so long without a touch the writer was ended.
ENDED_AFTER_S = 30.0
#: How each state begins in what the stack reports.
_STATES = {"fetching": "fetching", "building": "building", "wait": "waits"}
#: A part that was fetched or built is not there yet: it has to start.
_BEFORE_START = ("waits", "fetching", "building")

Report = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is still to come. `state` is one of waits, fetching, building, starting, loading."""

    what: str
    state: str
    detail: str = ""

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def read_coming(settings: Settings) -> list[Part]:
    """The parts that are still to come, in the order in which they are expected; empty if everything is there.

    If the command that brings them was ended, they wait, and the detail says how to continue.
    """
    file = _file(settings)
    try:
        untouched_s = time.time() - file.stat().st_mtime
        parts = [Part(**part) for part in orjson.loads(file.read_bytes())]
    except (OSError, ValueError, TypeError):
        return []
    if untouched_s < ENDED_AFTER_S:
        return parts
    return [Part(part.what, "waits", "`make up` was interrupted; run it again") for part in parts]


def forget_coming(settings: Settings) -> None:
    """Nothing is to come any more: everything is there, or the platform is stopped."""
    _file(settings).unlink(missing_ok=True)


class Coming:
    """Keeps the file while parts come. A report that is called with a part's name and what happens to it; passes it on."""

    def __init__(self, settings: Settings, report: Report) -> None:
        self.report = report
        self._settings = settings
        self._parts: dict[str, Part] = {}
        self._written_at = 0.0
        self._lock = Lock()

    def __call__(self, name: str, doing: str) -> None:
        self.report(name, doing)
        with self._lock:
            part = self._parts.get(name)
            if part is None:
                return
            if doing == "ready":
                if part.state in _BEFORE_START and part.detail:
                    self._set(name, Part(part.what, "waits", ""))
                else:
                    del self._parts[name]
                    self._write()
                return
            other = "loading" if part.state == "loading" else "starting"
            state = next((state for word, state in _STATES.items() if doing.startswith(word)), other)
            self._set(name, Part(part.what, state, doing))

    def expect(self, parts: Mapping[str, tuple[str, str]]) -> None:
        """Adds parts by name, each with what it is and its first state."""
        with self._lock:
            self._parts |= {name: Part(what, state) for name, (what, state) in parts.items()}
            self._write()

    def arrived(self, *names: str) -> None:
        """These parts are there."""
        with self._lock:
            for name in names:
                self._parts.pop(name, None)
            self._write()

    def parts(self) -> list[Part]:
        """What is still to come."""
        with self._lock:
            return list(self._parts.values())

    def _set(self, name: str, part: Part) -> None:
        changed = self._parts[name].state != part.state
        self._parts[name] = part
        if changed or time.monotonic() - self._written_at > DETAIL_EVERY_S:
            self._write()

    def _write(self) -> None:
        self._written_at = time.monotonic()
        if not self._parts:
            forget_coming(self._settings)
            return
        file = _file(self._settings)
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = file.with_suffix(".new")
        new.write_bytes(orjson.dumps([part.to_json() for part in self._parts.values()]))
        new.replace(file)


@contextmanager
def coming(settings: Settings, report: Report) -> Iterator[Coming]:
    """Meanwhile this process keeps the file. Waits if another process does."""
    waits = "waits for another `evcharge up` of this platform"
    ended = Event()

    def touch() -> None:
        while not ended.wait(TOUCHED_EVERY_S):
            with suppress(FileNotFoundError):
                os.utime(_file(settings))

    with lock.in_turn(settings.home / "coming.lock", lambda: report("stack", waits)):
        touching = Thread(target=touch, daemon=True)
        touching.start()
        try:
            yield Coming(settings, report)
        finally:
            ended.set()
            touching.join()


def _file(settings: Settings) -> Path:
    return settings.home / "coming.json"

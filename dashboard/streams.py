"""What changed, told to every open page: one thread reads the changes and hands each page those that it shows.

A page gets the newest state of a station or car only: while it does not take what waits for it, a newer state replaces the
older one. A page that lets too much wait is cut off, and its browser connects again. Nothing is kept for pages that are away:
after a lost connection a page loads its view anew.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import orjson

from dashboard import access_log
from evcharge.queries.dashboard import Box, Changes, Cursor, MapQuestion, ServerDownError, UserError

#: Between two reads of the changes.
READ_EVERY_S = 0.5
#: A stream says at least so often how old the state is.
HEARTBEAT_S = 5.0
#: After a failed read.
RETRY_EVERY_S = 2.0
#: A page that lets more than this wait is cut off.
WAITING_LIMIT = 5_000
#: The share of all streams that one address may have.
ADDRESS_SHARE = 0.9
#: More views than these are asked for as one that is the whole globe.
BOXES_ASKED = 50
#: A map that is zoomed out further shows no single cars.
CARS_FROM_ZOOM = 8.0

_GLOBE = Box(-180.0, -90.0, 180.0, 90.0)


class Source(Protocol):
    """`Queries`, as far as the streams ask it."""

    def changes(
        self, cursor: Cursor | None, boxes: Iterable[Box], station_ids: Iterable[str], vehicle_ids: Iterable[str]
    ) -> Changes: ...


class TooManyStreamsError(Exception):
    """So many streams are open already."""


@dataclass(frozen=True, slots=True)
class View:
    """What a page shows: the stations of a map's question, cars if it is zoomed in, and more stations and cars by id."""

    question: MapQuestion
    cars: bool = True
    station_ids: frozenset[str] = frozenset()
    vehicle_ids: frozenset[str] = frozenset()

    @property
    def outlets(self) -> MapQuestion:
        """The question without its place: which outlets count."""
        globe = {name: getattr(_GLOBE, name) for name in ("west", "south", "east", "north")}
        return replace(self.question, **globe, zoom=0.0, favourites=(), likely_free_in_min=None)


@dataclass(frozen=True, slots=True)
class Change:
    """One event for the pages. The place is null for a station that is not in the registry."""

    kind: str
    name: str
    latitude: float | None
    longitude: float | None
    event: bytes

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.name


@dataclass(slots=True, eq=False)
class Subscription:
    """What waits for one page."""

    address: str
    view: View
    outlets: MapQuestion
    box: Box
    missed: bool
    waiting: dict[tuple[str, str], bytes] = field(default_factory=dict)
    ended: bool = False
    arrived: threading.Event = field(default_factory=threading.Event)


class Streams:
    """The open streams of this process, at most `limit`. Any number of threads may use it."""

    def __init__(self, source: Source, limit: int) -> None:
        self.source = source
        self.limit = limit
        self.address_limit = max(1, int(limit * ADDRESS_SHARE))
        self._lock = threading.Lock()
        self._open: list[Subscription] = []
        self._addresses: Counter[str] = Counter()
        self._reader: threading.Thread | None = None
        self._closing = threading.Event()
        self._state = b""
        # rises over restarts, so that a page can tell that it was away
        self._read_id = time.time_ns() // 1_000_000

    def __len__(self) -> int:
        return len(self._open)

    def subscribe(self, view: View, address: str, *, was_away: bool = False) -> Subscription:
        """A subscription for a page at an address; a page that was away is told that it missed changes.

        Raises TooManyStreamsError.
        """
        subscription = Subscription(address, view, view.outlets, view.question.box.on_globe(), was_away)
        with self._lock:
            full = len(self._open) >= self.limit or self._addresses[address] >= self.address_limit
            if full or self._closing.is_set():
                raise TooManyStreamsError
            self._open.append(subscription)
            self._addresses[address] += 1
            if self._reader is None:
                self._reader = threading.Thread(target=self._read, name="changes", daemon=True)
                self._reader.start()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forgets a subscription."""
        with self._lock:
            if subscription in self._open:
                self._open.remove(subscription)
                self._addresses[subscription.address] -= 1
                if not self._addresses[subscription.address]:
                    del self._addresses[subscription.address]

    def events(self, subscription: Subscription) -> Iterator[bytes]:
        """What to send to the page, as text/event-stream, until it has to end. Closing it ends the subscription."""
        try:
            yield b"retry: 3000\n\n"
            if subscription.missed:
                yield _event("error", {"detail": "changes were missed: load the view again"})
            while not subscription.ended:
                with self._lock:
                    waiting, subscription.waiting = subscription.waiting, {}
                    subscription.arrived.clear()
                    # the id comes last, when the page has everything before it
                    state = b"id: %d\n%s" % (self._read_id, self._state) if self._state else b""
                if waiting or state:
                    yield b"".join((*waiting.values(), state))
                subscription.arrived.wait(HEARTBEAT_S)
        finally:
            self.unsubscribe(subscription)

    def close(self) -> None:
        """Ends every stream, and the reader. No new one is opened."""
        self._closing.set()
        self._end_all()

    def _end_all(self) -> None:
        with self._lock:
            for subscription in self._open:
                subscription.ended = True
                subscription.arrived.set()

    def _read(self) -> None:
        """Reads changes while a stream is open."""
        cursor = None
        while not self._closing.is_set():
            wait_s = READ_EVERY_S
            with self._lock:
                pages = list(self._open)
                if not pages:
                    self._reader, self._state = None, b""
                    return
            try:
                changes = self.source.changes(cursor, *_asked(pages))
                cursor = changes.cursor
                self._hand_out(pages, changes)
                if changes.more:
                    wait_s = 0.0
            except (ServerDownError, UserError) as error:
                down = getattr(error, "service", "")
                self._tell_trouble(f"{down} does not answer" if down else str(error))
                wait_s = RETRY_EVERY_S
            except Exception as error:  # the thread serves every page, so it lives on
                access_log.write("changes cannot be read", error)
                self._tell_trouble("changes cannot be read")
                wait_s = RETRY_EVERY_S
            self._closing.wait(wait_s)

    def _hand_out(self, pages: Sequence[Subscription], changes: Changes) -> None:
        """Gives each page the changes that it shows, and all of them the state's age."""
        found = _found(pages, changes)
        state = _event("fresh", {**changes.fresh.to_json(), "note": changes.fresh.reason})
        with self._lock:
            is_news = self._state[:12] != state[:12]
            self._state = state
            self._read_id += 1
            for page, shown in zip(pages, found, strict=True):
                page.waiting |= {change.key: change.event for change in shown}
                page.ended |= len(page.waiting) > WAITING_LIMIT
                if shown or is_news or page.ended:
                    page.arrived.set()
        if changes.reset:
            # every station may have changed: the pages load their view again when they connect again
            self._end_all()

    def _tell_trouble(self, detail: str) -> None:
        state = _event("error", {"detail": detail})
        with self._lock:
            is_news, self._state = state != self._state, state
            for page in self._open if is_news else ():
                page.arrived.set()


def _asked(pages: Iterable[Subscription]) -> tuple[list[Box], set[str], set[str]]:
    """What all pages show together: boxes, stations, cars."""
    boxes = list({page.box for page in pages})
    station_ids = {name for page in pages for name in page.view.station_ids}
    vehicle_ids = {name for page in pages for name in page.view.vehicle_ids}
    return boxes if len(boxes) <= BOXES_ASKED else [_GLOBE], station_ids, vehicle_ids


def _found(pages: Sequence[Subscription], changes: Changes) -> list[list[Change]]:
    """For each page the changes that it shows. Pages that count the same outlets share the work."""
    found: list[list[Change]] = [[] for _ in pages]
    cars = [
        Change("vehicle", car.vehicle_id, car.latitude, car.longitude, _event("vehicle", car.to_json()))
        for car in changes.vehicles
    ]
    for outlets in {page.outlets for page in pages}:
        numbers = [number for number, page in enumerate(pages) if page.outlets == outlets]
        stations = _stations(changes, outlets)
        for number, shown in zip(numbers, _shown([pages[n] for n in numbers], stations), strict=True):
            found[number] += shown
    for number, shown in enumerate(_shown(pages, cars)):
        found[number] += shown
    return found


def _stations(changes: Changes, outlets: MapQuestion) -> list[Change]:
    any_outlet = outlets == View(MapQuestion(0, 0, 0, 0)).outlets
    return [
        Change(
            "station",
            one.station.station_id,
            one.station.latitude,
            one.station.longitude,
            _event("station", one.to_json()),
        )
        for one in (changes.stations if any_outlet else changes.stations_for(outlets))
    ]


def _shown(pages: Sequence[Subscription], changes: Sequence[Change]) -> list[list[Change]]:
    """For each page those of the changes that are in its box or that it names."""
    if not changes:
        return [[] for _ in pages]
    west, south, east, north = np.array([(p.box.west, p.box.south, p.box.east, p.box.north) for p in pages]).T[
        :, :, None
    ]
    latitudes = np.array([np.nan if change.latitude is None else change.latitude for change in changes])
    longitudes = np.array([np.nan if change.longitude is None else change.longitude for change in changes])
    beyond, before = longitudes >= west, longitudes <= east
    inside = (latitudes >= south) & (latitudes <= north) & np.where(west > east, beyond | before, beyond & before)
    if changes[0].kind == "vehicle":
        inside &= np.array([page.view.cars for page in pages])[:, None]
    by_name = {change.name: index for index, change in enumerate(changes)}
    found = []
    for page, row in zip(pages, inside, strict=True):
        names = page.view.vehicle_ids if changes[0].kind == "vehicle" else page.view.station_ids
        more = {by_name[name] for name in names if name in by_name}
        found.append([changes[index] for index in sorted({*np.flatnonzero(row).tolist(), *more})])
    return found


def _event(name: str, payload: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(payload))

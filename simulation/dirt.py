"""Dirty mode: known faults at known rates between the stations and the receiver of their events.

Faults come in the same order as in the field: the meter, the station's clock, the message, the way. An event that an offline
station holds is not late as well. A copy is made beyond the station, so it comes whether the station is offline or not.
Every draw is a function of seed and event, or of seed, station and UTC day, so chunks and pauses change nothing.

Lengths and delays are log-uniform between the bounds below. Each order of magnitude is as likely as the next, so a short run
has both seconds and hours. All bounds and default rates are assumptions, chosen to exercise a receiver.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Any, Self

from simulation.clock import DAY_MS, HOUR_MS, to_datetime, to_ms
from simulation.draws import Draws, Purpose

STATE_VERSION = 1

_SECOND_MS = 1_000
_MINUTE_MS = 60_000

# From when an event occurred to when it is delivered.
_LATE_MS = (_MINUTE_MS, DAY_MS)
# From one delivery to the next of the same bytes.
_AGAIN_MS = (_SECOND_MS, 6 * HOUR_MS)
_THIRD_SHARE = 0.2
_OFFLINE_MS = (HOUR_MS, 12 * HOUR_MS)
# At most a day, so that a time that is not over began today or yesterday.
_SKEWED_MS = (HOUR_MS, DAY_MS)
# How far a clock is off, ahead or behind. A receiver may take 24 h or more for a clock that was not set yet, so it is less.
_SKEW_S = (2 * 60, 12 * 3600)

_HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"

Message = dict[str, Any] | bytes
Detail = dict[str, Any]


class Fault(StrEnum):
    """What can be wrong with a delivery."""

    LATE = "late"
    DUPLICATE = "duplicate"
    MALFORMED = "malformed"
    CLOCK_SKEW = "clock_skew"
    OFFLINE = "offline"
    METER_NULL = "meter_null"
    METER_RESET = "meter_reset"


class Malformed(StrEnum):
    """How a message is broken, each kind as often as the others."""

    CUT_OFF = "cut_off"
    HTML = "html"
    WRONG_TYPE = "wrong_type"
    MISSING_FIELD = "missing_field"
    UNKNOWN_VALUE = "unknown_value"


_KINDS = tuple(Malformed)
_WRONG_TYPES = (
    ("sequence", "first"),
    ("occurred_at", "10/03/2026 2:05 PM"),
    ("energy_delivered_kwh", "12,5 kWh"),
    ("state_of_charge", "half"),
)
_REQUIRED = ("event_id", "session_id", "sequence", "station_id", "event_type", "occurred_at")
# Words of OCPP 1.6 and of its vendors for events that have other names in our messages.
_UNKNOWN_EVENT_TYPES = ("StartTransaction", "StopTransaction", "Charging", "SuspendedEV", "heartbeat")


@dataclass(frozen=True, slots=True)
class DirtRates:
    """How often each fault comes, 0 to 1. ValueError outside 0 to 1.

    `late`, `duplicate` and `malformed` are shares of all events. `clock_skew` and `offline` are shares of all days of all
    stations: such a time begins on that day. `meter_null` is a share of all meter values, `meter_reset` of those with energy.
    """

    late: float = 0.01
    duplicate: float = 0.005
    malformed: float = 0.001
    clock_skew: float = 0.005
    offline: float = 0.01
    meter_null: float = 0.002
    meter_reset: float = 0.0005

    def __post_init__(self) -> None:
        for name, rate in asdict(self).items():
            if not 0 <= rate <= 1:
                raise ValueError(f"{name}={rate}: a rate lies between 0 and 1")

    @classmethod
    def none(cls) -> Self:
        """No faults at all."""
        return cls(**dict.fromkeys(_NAMES, 0.0))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Rates from a text like `late=0.01,duplicate=0.005`. A fault that is not named does not come.

        ValueError says what is wrong.
        """
        rates = dict.fromkeys(_NAMES, 0.0)
        named: set[str] = set()
        for part in filter(None, map(str.strip, text.split(","))):
            name, _, value = map(str.strip, part.partition("="))
            if name not in rates:
                raise ValueError(f"{name!r} is no fault; there are {', '.join(_NAMES)}")
            if name in named:
                raise ValueError(f"{name} is given twice")
            named.add(name)
            try:
                rates[name] = float(value)
            except ValueError:
                raise ValueError(f"{part!r}: a fault has a number, as in {name}=0.01") from None
        return cls(**rates)


_NAMES = tuple(field.name for field in fields(DirtRates))


@dataclass(frozen=True, slots=True)
class Injection:
    """A line of the ledger: one fault in one delivery, with a `detail` of plain JSON values.

    | fault | detail |
    |---|---|
    | late | `late_s` |
    | duplicate | `copy` (1, 2), `after_s`: since the delivery before |
    | malformed | `kind` (of `Malformed`), and `field` if a single field is broken |
    | clock_skew | `occurred_at_s` and, of a stopped event, `started_at_s`: what was added to the true time (s); \
`ends_before_start` if the session then ends before it starts |
    | offline | `held_s` |
    | meter_null | `energy_delivered_kwh`: the true one |
    | meter_reset | `energy_delivered_kwh`: the true one; `reset_at_kwh`: the true one at the last reset |
    """

    event_id: str
    fault: Fault
    detail: Detail
    delivered_at: datetime

    def to_json(self) -> dict[str, Any]:
        """The line as plain JSON values."""
        return {**asdict(self), "delivered_at": self.delivered_at.isoformat()}


@dataclass(frozen=True, slots=True)
class Delivery:
    """What reaches the receiver at an instant: a message as a mapping of fields, or bytes that are no message.

    `key` is the station. `event_id` is that of the clean event, whatever the message says. `injected` lists faults of the
    message itself for each of its copies, late and offline for the first copy only, and duplicate for the others.
    """

    delivered_at: datetime
    key: str
    message: Message
    event_id: str
    injected: tuple[Injection, ...] = ()

    @property
    def faults(self) -> tuple[Fault, ...]:
        return tuple(injection.fault for injection in self.injected)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A delivery that is due later."""

    event_id: str
    key: str
    message: Message
    faults: tuple[tuple[Fault, Detail], ...]

    def delivered(self, at_ms: int) -> Delivery:
        at = to_datetime(at_ms)
        injected = tuple(Injection(self.event_id, fault, detail, at) for fault, detail in self.faults)
        return Delivery(at, self.key, self.message, self.event_id, injected)


@dataclass(frozen=True, slots=True)
class _Times:
    """When a station's clock is off, as (from, before, by how much), and when it is offline, as (from, before). All in ms."""

    skewed: tuple[tuple[int, int, int], ...]
    offline: tuple[tuple[int, int], ...]


class Dirt:
    """Turns clean events into deliveries, and keeps a ledger of what it did to them.

    Equal rates, seed and events give equal deliveries, whatever the chunks in which `deliver` is called. `injected` is the
    ledger of the last `deliver`. `totals` counts deliveries by fault since the start.
    """

    def __init__(self, rates: DirtRates, seed: int) -> None:
        """`seed`: any integer of up to 64 bits, signed."""
        self.rates = rates
        self.injected: list[Injection] = []
        self.totals: Counter[str] = Counter()
        self._seed = seed
        self._draws = Draws(seed)
        self._times = lru_cache(maxsize=65_536)(self._draw_times)
        self._until: int | None = None
        # Numbers the events, so that deliveries due at one instant keep their order.
        self._order = 0
        self._waiting: list[tuple[int, int, int, _Waiting]] = []
        # Energy (Wh) at the last reset of each session that is not over.
        self._reset_at: dict[str, int] = {}

    def deliver(self, rows: Iterable[Mapping[str, Any]], until: datetime) -> list[Delivery]:
        """What is delivered after the last call, up to `until` (inclusive), in time order.

        `rows` are the events that occurred in that time, in order, as `EventBatch.rows` has them. ValueError if one is out of
        order or after `until`, or if `until` lies before that of the last call.
        """
        until_ms = to_ms(until)
        last_ms = self._until
        if last_ms is not None and until_ms < last_ms:
            raise ValueError(f"{until.isoformat()} is before {to_datetime(last_ms).isoformat()}, already delivered")
        due: list[tuple[int, int, int, Delivery]] = []
        for row in rows:
            at_ms = to_ms(row["occurred_at"])
            if at_ms > until_ms or (last_ms is not None and at_ms < last_ms):
                raise ValueError(f"{row['event_id']} of {row['occurred_at'].isoformat()} is out of order")
            last_ms = at_ms
            self._order += 1
            for copy, (due_ms, waiting) in enumerate(self._sent(row, at_ms)):
                if due_ms > until_ms:
                    heappush(self._waiting, (due_ms, self._order, copy, waiting))
                else:
                    due.append((due_ms, self._order, copy, waiting.delivered(due_ms)))
        while self._waiting and self._waiting[0][0] <= until_ms:
            due_ms, order, copy, waiting = heappop(self._waiting)
            due.append((due_ms, order, copy, waiting.delivered(due_ms)))
        due.sort(key=lambda entry: entry[:3])
        self._until = until_ms
        deliveries = [delivery for _, _, _, delivery in due]
        self.injected = [injection for delivery in deliveries for injection in delivery.injected]
        self.totals.update(injection.fault.value for injection in self.injected)
        return deliveries

    # --- one event ---

    def _sent(self, row: Mapping[str, Any], at_ms: int) -> list[tuple[int, _Waiting]]:
        """Every delivery of an event, with its time (ms)."""
        rates, event_id, station_id = self.rates, row["event_id"], row["station_id"]
        u = self._draws.block(Purpose.DIRTY_EVENT, _number(row["session_id"]), row["sequence"])
        noted = dict(row)
        message: Message = noted
        faults: list[tuple[Fault, Detail]] = []
        self._misread(noted, faults, u[6], u[7])
        times = self._times(station_id, at_ms // DAY_MS)
        if times is not None or row["started_at"] is not None:
            self._stamp(noted, faults)
        if u[3] < rates.malformed:
            message, detail = _malformed(noted, u[3] / rates.malformed, u[4], u[5])
            faults.append((Fault.MALFORMED, detail))
        sent_ms, way = at_ms, faults
        if times is not None and (held_ms := self._back_online(station_id, at_ms) - at_ms):
            sent_ms += held_ms
            way = [*faults, (Fault.OFFLINE, {"held_s": held_ms / 1000})]
        elif u[0] < rates.late:
            late_ms = _log_uniform(_LATE_MS, u[0] / rates.late)
            sent_ms += late_ms
            way = [*faults, (Fault.LATE, {"late_s": late_ms / 1000})]
        sent = [(sent_ms, _Waiting(event_id, station_id, message, tuple(way)))]
        if u[1] < rates.duplicate:
            gaps = [_log_uniform(_AGAIN_MS, u[1] / rates.duplicate)]
            if u[2] < _THIRD_SHARE:
                gaps.append(_log_uniform(_AGAIN_MS, u[2] / _THIRD_SHARE))
            for copy, gap_ms in enumerate(gaps, start=1):
                sent_ms += gap_ms
                again = (Fault.DUPLICATE, {"copy": copy, "after_s": gap_ms / 1000})
                sent.append((sent_ms, _Waiting(event_id, station_id, message, (*faults, again))))
        return sent

    def _misread(self, message: dict[str, Any], faults: list[tuple[Fault, Detail]], null: float, reset: float) -> None:
        """The meter: one value has no energy, or its register falls to zero and counts from there to the session's end."""
        event_type, session_id = message["event_type"], message["session_id"]
        energy_kwh = message["energy_delivered_kwh"]
        if event_type == "meter" and energy_kwh is not None:
            if null < self.rates.meter_null:
                message["energy_delivered_kwh"] = None
                faults.append((Fault.METER_NULL, {"energy_delivered_kwh": energy_kwh}))
                return
            if energy_kwh > 0 and reset < self.rates.meter_reset:
                self._reset_at[session_id] = round(energy_kwh * 1000)
        if self._reset_at:
            zero_wh = self._reset_at.get(session_id)
            if zero_wh is not None and energy_kwh is not None:
                message["energy_delivered_kwh"] = (round(energy_kwh * 1000) - zero_wh) / 1000
                detail = {"energy_delivered_kwh": energy_kwh, "reset_at_kwh": zero_wh / 1000}
                faults.append((Fault.METER_RESET, detail))
            if event_type == "stopped":
                self._reset_at.pop(session_id, None)

    def _stamp(self, message: dict[str, Any], faults: list[tuple[Fault, Detail]]) -> None:
        """The clock: each time of the message becomes what the station's clock showed then."""
        detail: Detail = {}
        for name in ("occurred_at", "started_at"):
            at = message[name]
            if at is None:
                continue
            at_ms = to_ms(at)
            off_ms = self._clock_off(message["station_id"], at_ms)
            if off_ms:
                message[name] = to_datetime(at_ms + off_ms)
                detail[f"{name}_s"] = off_ms // 1000
        if detail:
            started_at = message["started_at"]
            if started_at is not None and started_at > message["occurred_at"]:
                detail["ends_before_start"] = True
            faults.append((Fault.CLOCK_SKEW, detail))

    # --- a station's times ---

    def _clock_off(self, station_id: str, at_ms: int) -> int:
        """How far the clock is ahead (ms). If two such times overlap, the one that began last counts."""
        times = self._times(station_id, at_ms // DAY_MS)
        if times is not None:
            for since, before, off_ms in times.skewed:
                if since <= at_ms < before:
                    return off_ms
        return 0

    def _back_online(self, station_id: str, at_ms: int) -> int:
        """When the station is online again (ms); `at_ms` if it is now. Never falls as `at_ms` grows, so queues keep order."""
        while True:
            times = self._times(station_id, at_ms // DAY_MS)
            ends = [before for since, before in (times.offline if times else ()) if since <= at_ms < before]
            if not ends:
                return at_ms
            at_ms = max(ends)

    def _draw_times(self, station_id: str, day: int) -> _Times | None:
        """The times that began on a UTC day or on the day before it, the later first; None if none did."""
        skewed: list[tuple[int, int, int]] = []
        offline: list[tuple[int, int]] = []
        for began_on in (day, day - 1):
            u = self._draws.block(Purpose.DIRTY_STATION, _number(station_id), began_on)
            if u[0] < self.rates.clock_skew:
                since = began_on * DAY_MS + int(u[1] * DAY_MS)
                off_s = _log_uniform(_SKEW_S, u[0] / self.rates.clock_skew) * (1 if u[3] < 0.5 else -1)
                skewed.append((since, since + _log_uniform(_SKEWED_MS, u[2]), off_s * 1000))
            if u[4] < self.rates.offline:
                since = began_on * DAY_MS + int(u[5] * DAY_MS)
                offline.append((since, since + _log_uniform(_OFFLINE_MS, u[6])))
        return _Times(tuple(skewed), tuple(offline)) if skewed or offline else None

    # --- state ---

    def save(self) -> dict[str, Any]:
        """Everything that `load` needs to resume, as plain JSON values. The ledger of the last call is not in it."""
        return {
            "state_version": STATE_VERSION,
            "rates": asdict(self.rates),
            "seed": self._seed,
            "until_ms": self._until,
            "order": self._order,
            "waiting": [
                [due_ms, order, copy, w.event_id, w.key, _plain(w.message), [list(fault) for fault in w.faults]]
                for due_ms, order, copy, w in sorted(self._waiting, key=lambda entry: entry[:3])
            ],
            "reset_at_wh": dict(self._reset_at),
            "totals": dict(self.totals),
        }

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Self:
        """Resume from a `state` that `save` gave. ValueError if another version saved it."""
        if state.get("state_version") != STATE_VERSION:
            raise ValueError(f"state version {state.get('state_version')} is not {STATE_VERSION}")
        dirt = cls(DirtRates(**state["rates"]), state["seed"])
        dirt._until = state["until_ms"]
        dirt._order = state["order"]
        # `save` sorts the list, so it is a heap already.
        dirt._waiting = [
            (due_ms, order, copy, _Waiting(event_id, key, _message(plain), tuple((Fault(f), d) for f, d in faults)))
            for due_ms, order, copy, event_id, key, plain, faults in state["waiting"]
        ]
        dirt._reset_at = dict(state["reset_at_wh"])
        dirt.totals = Counter(state["totals"])
        return dirt


@lru_cache(maxsize=65_536)
def _number(name: str) -> int:
    """The entity number of a name, for draws."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little", signed=True)


def _log_uniform(bounds: tuple[int, int], uniform: float) -> int:
    low, high = bounds
    return int(low * (high / low) ** uniform)


def _malformed(message: dict[str, Any], kind: float, choice: float, where: float) -> tuple[Message, Detail]:
    """A message broken in a way that three uniforms choose."""
    chosen = _KINDS[int(kind * len(_KINDS))]
    match chosen:
        case Malformed.CUT_OFF:
            text = json.dumps(message, default=_iso, separators=(",", ":")).encode()
            return text[: 1 + int(where * (len(text) - 1))], {"kind": chosen.value}
        case Malformed.HTML:
            return _HTML, {"kind": chosen.value}
        case Malformed.WRONG_TYPE:
            field, value = _WRONG_TYPES[int(choice * len(_WRONG_TYPES))]
            return {**message, field: value}, {"kind": chosen.value, "field": field}
        case Malformed.MISSING_FIELD:
            field = _REQUIRED[int(choice * len(_REQUIRED))]
            return {n: v for n, v in message.items() if n != field}, {"kind": chosen.value, "field": field}
        case Malformed.UNKNOWN_VALUE:
            value = _UNKNOWN_EVENT_TYPES[int(choice * len(_UNKNOWN_EVENT_TYPES))]
            return {**message, "event_type": value}, {"kind": chosen.value, "field": "event_type"}


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def _plain(message: Message) -> dict[str, Any] | str:
    """A message as JSON values. The fields keep their order, so that copies stay the same byte for byte."""
    if isinstance(message, bytes):
        return message.decode()
    return {n: {"at": v.isoformat()} if isinstance(v, datetime) else v for n, v in message.items()}


def _message(plain: dict[str, Any] | str) -> Message:
    if isinstance(plain, str):
        return plain.encode()
    return {n: datetime.fromisoformat(v["at"]) if isinstance(v, dict) else v for n, v in plain.items()}

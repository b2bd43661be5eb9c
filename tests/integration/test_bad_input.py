"""Bad messages are quarantined under the right rule, byte for byte, and the good ones in between pass."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from support import Lake, Record, Row, changed, meter, record, send, station, stopped

from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, Contract
from evcharge.lake.candidate import Manifest
from evcharge.lake.ledger import OffsetRange, read_ledger
from evcharge.lake.publish import GateClosedError

STATION = "bad-input"
KEY = STATION.encode()


def event(**fields: object) -> Record:
    """A meter reading with fields set to any JSON value, or removed by `...`."""
    return changed(SESSION_EVENTS, meter("bad", STATION), **fields)


def cdr(**fields: object) -> Record:
    return changed(SESSION_EVENTS, stopped("bad", STATION), **fields)


def registry(**fields: object) -> Record:
    return changed(STATION_REGISTRY, station("bad-station"), **fields)


def raw(value: bytes | None) -> Record:
    return Record(KEY, value)


def text(old: bytes, new: bytes) -> Record:
    """A meter reading with its JSON text altered."""
    value = event().value
    assert value is not None
    assert old in value
    return raw(value.replace(old, new))


def years(number: int) -> str:
    return f"{datetime.now(UTC).year + number}-01-01T00:00:00Z"


BAD_EVENTS: dict[str, tuple[Record, str, str]] = {
    "tombstone": (raw(None), "EMPTY_MESSAGE", "value"),
    "empty value": (raw(b""), "EMPTY_MESSAGE", "value"),
    "blanks": (raw(b"  \n"), "EMPTY_MESSAGE", "value"),
    "message of 5 MB": (event(reason="x" * 5_000_000), "MESSAGE_TOO_LARGE", "value"),
    "5 MB of no JSON": (raw(b"\xff" * 5_000_000), "MESSAGE_TOO_LARGE", "value"),
    "bytes that are no UTF-8": (text(b"bad", b"b\xe9d"), "NOT_UTF8", "value"),
    "cut off JSON": (raw((event().value or b"")[:-9]), "MALFORMED_JSON", "value"),
    "plain text": (raw(b"hello"), "MALFORMED_JSON", "value"),
    "single quotes": (raw((event().value or b"").replace(b'"', b"'")), "MALFORMED_JSON", "value"),
    "something after the object": (raw((event().value or b"") + b" trailing"), "MALFORMED_JSON", "value"),
    "two objects": (raw((event().value or b"") * 2), "MALFORMED_JSON", "value"),
    "array of events": (raw(b"[" + (event().value or b"") + b"]"), "MALFORMED_JSON", "value"),
    "JSON null": (raw(b"null"), "MALFORMED_JSON", "value"),
    "number": (raw(b"42"), "MALFORMED_JSON", "value"),
    "string": (raw(b'"started"'), "MALFORMED_JSON", "value"),
    "byte order mark": (raw(b"\xef\xbb\xbf" + (event().value or b"")), "MALFORMED_JSON", "value"),
    "text for a number": (event(energy_delivered_kwh="much"), "WRONG_TYPE", "energy_delivered_kwh"),
    "number in quotes": (event(energy_delivered_kwh="1.5"), "WRONG_TYPE", "energy_delivered_kwh"),
    "object for a text": (event(session_id={"id": "bad"}), "WRONG_TYPE", "session_id"),
    "object for a number": (event(power_kw={"kw": 7}), "WRONG_TYPE", "power_kw"),
    "array for a text": (event(ev_id=["car"]), "WRONG_TYPE", "ev_id"),
    "fraction for an integer": (event(sequence=0.5), "WRONG_TYPE", "sequence"),
    "integer beyond its type": (event(sequence=2**40), "WRONG_TYPE", "sequence"),
    "time as words": (event(occurred_at="yesterday"), "WRONG_TYPE", "occurred_at"),
    "time without zone": (event(occurred_at="2025-01-15T12:00:00"), "WRONG_TYPE", "occurred_at"),
    "day that does not exist": (event(occurred_at="2025-02-30T12:00:00Z"), "WRONG_TYPE", "occurred_at"),
    "no schema version": (event(schema_version=...), "MISSING_FIELD", "schema_version"),
    "no event_id": (event(event_id=...), "MISSING_FIELD", "event_id"),
    "null session_id": (event(session_id=None), "MISSING_FIELD", "session_id"),
    "no sequence": (event(sequence=...), "MISSING_FIELD", "sequence"),
    "no station_id": (event(station_id=...), "MISSING_FIELD", "station_id"),
    "no event_type": (event(event_type=...), "MISSING_FIELD", "event_type"),
    "no occurred_at": (event(occurred_at=...), "MISSING_FIELD", "occurred_at"),
    "empty object": (raw(b"{}"), "MISSING_FIELD", "schema_version"),
    "another schema version": (event(schema_version=2), "UNKNOWN_SCHEMA_VERSION", "schema_version"),
    "unknown event type": (event(event_type="exploded"), "UNKNOWN_VALUE", "event_type"),
    "event type in capitals": (event(event_type="METER"), "UNKNOWN_VALUE", "event_type"),
    "unknown reason": (cdr(reason="Bored"), "UNKNOWN_VALUE", "reason"),
    "negative sequence": (event(sequence=-1, event_id="bad--1"), "OUT_OF_RANGE", "sequence"),
    "negative energy": (event(energy_delivered_kwh=-0.001), "OUT_OF_RANGE", "energy_delivered_kwh"),
    "energy beyond any battery": (event(energy_delivered_kwh=1_000.5), "OUT_OF_RANGE", "energy_delivered_kwh"),
    "infinite energy": (text(b":1.5", b":1e999"), "OUT_OF_RANGE", "energy_delivered_kwh"),
    "power beyond any connector": (event(power_kw=4_001), "OUT_OF_RANGE", "power_kw"),
    "battery over full": (event(state_of_charge=100.5), "OUT_OF_RANGE", "state_of_charge"),
    "negative idle time": (cdr(idle_s=-1), "OUT_OF_RANGE", "idle_s"),
    "event_id of another session": (event(event_id="other-0"), "EVENT_ID_MISMATCH", "event_id"),
    "event_id of another sequence": (event(event_id="bad-1"), "EVENT_ID_MISMATCH", "event_id"),
    "CDR without energy": (cdr(energy_delivered_kwh=...), "INCOMPLETE_CDR", "energy_delivered_kwh"),
    "CDR without start": (cdr(started_at=...), "INCOMPLETE_CDR", "energy_delivered_kwh"),
    "CDR without EVSE": (cdr(evse_id=None), "INCOMPLETE_CDR", "energy_delivered_kwh"),
    "CDR that ends before its start": (cdr(started_at="2025-01-15T12:00:01Z"), "ENDS_BEFORE_START", "started_at"),
    "CDR with a start long ago": (cdr(started_at="0001-01-01T00:00:00Z"), "TIMESTAMP_TOO_OLD", "started_at"),
    "years ahead": (event(occurred_at=years(3)), "TIMESTAMP_IN_FUTURE", "occurred_at"),
    "before the first event day": (event(occurred_at="2017-12-31T23:59:59Z"), "TIMESTAMP_TOO_OLD", "occurred_at"),
    "unknown station": (event(station_id="nowhere"), "UNKNOWN_STATION", "station_id"),
    "empty station_id": (event(station_id=""), "BLANK_TEXT", "station_id"),
    "session_id of 70 kB": (event(session_id="x" * 70_000), "TEXT_TOO_LONG", "session_id"),
    "start in another millennium": (cdr(started_at="20000-01-01T00:00:00Z"), "TIMESTAMP_IN_FUTURE", "started_at"),
    "NaN energy": (text(b":1.5", b":NaN"), "MALFORMED_JSON", "value"),
    "NaN in quotes": (event(energy_delivered_kwh="NaN"), "WRONG_TYPE", "energy_delivered_kwh"),
    "NaN in a field of no contract": (text(b"{", b'{"extra":NaN,'), "MALFORMED_JSON", "value"),
}

#: Odd, but no rule is broken.
GOOD_EVENTS = {
    "as producers send it": event(),
    "a field of no contract": event(colour="red"),
    "the last of a field sent twice": text(
        b'"energy_delivered_kwh":1.5', b'"energy_delivered_kwh":9,"energy_delivered_kwh":1.5'
    ),
    "blanks around": raw(b" \n" + (event().value or b"") + b" \n"),
    "another zone": event(occurred_at="2025-01-15T04:00:00.000-08:00"),
    "without a key": Record(None, event().value),
    "half an hour ahead": event(occurred_at=(datetime.now(UTC) + timedelta(minutes=30)).isoformat(timespec="seconds")),
    "time in seconds since 1970": event(occurred_at=1_736_942_400),
    "offset without colon": event(occurred_at="2025-01-15T13:00:00+0100"),
    "nanoseconds": event(occurred_at="2025-01-15T12:00:00.123456789Z"),
    "time without seconds": event(occurred_at="2025-01-15T12:00Z"),
    "time in small letters": event(occurred_at="2025-01-15t12:00:00z"),
    "braces in a text": event(ev_id="a } b {"),
    "half of a surrogate pair": text(b'"energy', b'"ev_id":"\\ud83d","energy'),
    "names in other letters": event(ev_id="Łódź-充电-🔌"),
}

BAD_REGISTRY: dict[str, tuple[Record, str, str]] = {
    "time zone in words": (registry(time_zone="pacific"), "UNKNOWN_TIME_ZONE", "time_zone"),
    "time zone that looks like one": (registry(time_zone="Mars/Olympus_Mons"), "UNKNOWN_TIME_ZONE", "time_zone"),
    "empty time zone": (registry(time_zone=""), "UNKNOWN_TIME_ZONE", "time_zone"),
    "no time zone": (registry(time_zone=...), "MISSING_FIELD", "time_zone"),
    "latitude beyond the pole": (registry(latitude=90.5), "OUT_OF_RANGE", "latitude"),
    "unknown status": (registry(status_code="X"), "UNKNOWN_VALUE", "status_code"),
    "wrong type within an EVSE": (registry(evses=[{"evse_id": "1", "power_kw": "fast"}]), "WRONG_TYPE", "evses"),
    "object for the EVSEs": (registry(evses={"evse_id": "1"}), "WRONG_TYPE", "evses"),
    "years ahead": (registry(observed_at=years(3)), "TIMESTAMP_IN_FUTURE", "observed_at"),
    "tombstone": (Record(b"bad-station", None), "EMPTY_MESSAGE", "value"),
    "null EVSE": (registry(evses=[None]), "MISSING_FIELD", "evses"),
    "two EVSEs of one id": (registry(evses=[{"evse_id": "1"}] * 2), "DUPLICATE_ID", "evses"),
    "null connector type": (registry(connector_types=[None]), "MISSING_FIELD", "connector_types"),
    "negative ports": (registry(connectors=[{"ports": -1}]), "OUT_OF_RANGE", "connectors"),
    "removed in another millennium": (
        registry(removed_at="20000-01-01T00:00:00Z"),
        "TIMESTAMP_IN_FUTURE",
        "removed_at",
    ),
    "zone that only Java knows": (registry(time_zone="SystemV/PST8"), "UNKNOWN_TIME_ZONE", "time_zone"),
}


@dataclass(frozen=True)
class Outcome:
    """Some records that were published together, and where each of them is."""

    manifest: Manifest
    planned: OffsetRange
    rows: dict[tuple[int, int], Row]
    places: dict[str, tuple[int, int]]

    def assert_quarantined(self, name: str, sent: Record, code: str, field: str) -> None:
        row = self.rows[self.places[name]]
        assert (row.get("rule_code"), row.get("rule_field")) == (code, field)
        assert (row["kafka_key"], row["kafka_value"]) == sent


def _publish(lake: Lake, contract: Contract, records: dict[str, Record]) -> Outcome:
    lake.publish_waiting()
    places = dict(zip(records, send(lake.settings, contract.topic, records.values()), strict=True))
    planned = lake.plan(contract.topic)
    manifest = lake.publish(planned).manifest
    found = [row for rows in lake.rows_of(planned).values() for row in rows]
    return Outcome(manifest, planned, {(r["kafka_partition"], r["kafka_offset"]): r for r in found}, places)


@pytest.fixture(scope="module")
def events(lake: Lake) -> Outcome:
    lake.register(station(STATION))
    mixed = {f"good {n}": event(state_of_charge=n) for n in range(len(BAD_EVENTS))} | {
        name: bad for name, (bad, _, _) in BAD_EVENTS.items()
    }
    order = sorted(mixed, key=hash)
    return _publish(lake, SESSION_EVENTS, {name: mixed[name] for name in order} | GOOD_EVENTS)


@pytest.fixture(scope="module")
def stations(lake: Lake) -> Outcome:
    records = {name: bad for name, (bad, _, _) in BAD_REGISTRY.items()} | {
        "good": registry(),
        "far away": registry(time_zone="America/Argentina/Buenos_Aires"),
        "link": registry(time_zone="Singapore"),
    }
    return _publish(lake, STATION_REGISTRY, records)


@pytest.mark.parametrize("name", BAD_EVENTS)
def test_bad_event_is_quarantined(events: Outcome, name: str) -> None:
    events.assert_quarantined(name, *BAD_EVENTS[name])


@pytest.mark.parametrize("name", BAD_REGISTRY)
def test_bad_station_is_quarantined(stations: Outcome, name: str) -> None:
    stations.assert_quarantined(name, *BAD_REGISTRY[name])


@pytest.mark.parametrize("name", GOOD_EVENTS)
def test_odd_event_passes(events: Outcome, name: str) -> None:
    row = events.rows[events.places[name]]
    assert "rule_code" not in row
    assert row["session_id"] == "bad"
    assert row["energy_delivered_kwh"] == 1.5


def test_good_rows_in_between_pass(events: Outcome) -> None:
    rows = [events.rows[events.places[f"good {n}"]] for n in range(len(BAD_EVENTS))]
    assert [row["state_of_charge"] for row in rows] == list(range(len(BAD_EVENTS)))


def test_every_record_is_counted_by_its_rule(events: Outcome, stations: Outcome) -> None:
    for outcome, bad in ((events, BAD_EVENTS), (stations, BAD_REGISTRY)):
        manifest = outcome.manifest
        assert manifest.quarantined_by_rule == Counter(code for _, code, _ in bad.values())
        assert manifest.rows_quarantined == len(bad)
        assert manifest.rows_read == outcome.planned.rows == len(outcome.places) == len(outcome.rows)
        assert manifest.rows_good == manifest.rows_read - len(bad)


def test_a_good_station_in_between_passes(stations: Outcome) -> None:
    assert stations.rows[stations.places["good"]]["time_zone"] == "America/Los_Angeles"
    assert stations.rows[stations.places["far away"]]["time_zone"] == "America/Argentina/Buenos_Aires"


def test_a_high_share_of_bad_rows_stops_the_merge_until_it_is_released(lake: Lake) -> None:
    lake.register(station(STATION))
    strict = Lake(lake.settings.model_copy(update={"quarantine_rows_allowed": 2, "quarantine_share_limit": 0.2}))
    good = [record(SESSION_EVENTS, meter(f"share-{n}", STATION)) for n in range(9)]

    planned = strict.send([*good, event(event_type="exploded"), raw(b"{")])
    assert strict.publish(planned).manifest.rows_quarantined == 2

    planned = strict.send([*good, *[raw(b"{")] * 3])
    head = strict.repository.head().id
    with pytest.raises(
        GateClosedError, match=r"^QUARANTINE_SHARE: 3 of 12 rows quarantined \(25.0%\), limit 20% above 2"
    ):
        strict.publish(planned)
    assert strict.repository.head().id == head
    assert read_ledger(strict.repository, planned.topic).offsets == planned.start
    assert strict.plan().hash == planned.hash

    released = strict.publish(planned, release=True)
    assert released.merged_now
    assert released.manifest.quarantined_by_rule == {"RELEASED": 12}
    rows = strict.rows_of(planned)
    assert rows["raw"] == []
    assert Counter(row["kafka_value"] for row in rows["quarantine"]) == Counter(
        [*(value for _, value in good), *[b"{"] * 3]
    )
    assert read_ledger(strict.repository, planned.topic).offsets == planned.end

"""Which EVSEs a station has, by its registry and its events, in whatever order the two topics arrive."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_events import MINUTE, NOON, Rows, event, folded, record

from evcharge.clock import HOUR_MS
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.live.indices import ALIASES, STATION_STATE, definition
from evcharge.live.registered import MAX_EVSES
from evcharge.live.station_document import POWER_KEYS
from evcharge.live.station_folder import fold
from evcharge.live.station_state import StationState
from evcharge.recorded.readers.model import Connector, Site, registry_record

Document = dict[str, Any]


def listed(*names: str, connector_type: str | None = "CHADEMO", power_kw: float | None = 50.0) -> Rows:
    return [
        {"evse_id": name, "connector_id": "1", "connector_type": connector_type, "power_kw": power_kw} for name in names
    ]


def charged(evse_id: str, at: int, session: str) -> Rows:
    """A whole session of 10 min."""
    return [
        event("started", at, session, evse_id=evse_id),
        event("stopped", at + 10 * MINUTE, session, 1, evse_id=evse_id, started_at=at, energy_delivered_kwh=2.0),
    ]


def evses(document: Document) -> dict[str, str]:
    return {evse["evse_id"]: evse["status"] for evse in document["evses"]}


def with_offsets(rows: Rows) -> Rows:
    return [row | {"kafka_partition": 0, "kafka_offset": offset} for offset, row in enumerate(rows)]


def folded_in(order: list[bool], records: Rows, events: Rows) -> Document:
    """The document after the rows of both topics: True takes the next record, False the next event."""
    queues = {True: with_offsets(records), False: with_offsets(events)}
    state = StationState("st")
    for is_record in (*order, *[True] * len(records), *[False] * len(events)):
        if queues[is_record]:
            topic = STATION_REGISTRY.topic if is_record else SESSION_EVENTS.topic
            fold(state, topic, [queues[is_record].pop(0)])
            state = StationState.from_document(json.loads(orjson.dumps(state.document())))
    return state.document()


#: First A and B, then C and D under the same roof.
RENAMED = [
    record(evses=listed("A", "B"), total_outlets=2),
    record(evses=listed("C", "D"), total_outlets=2, observed_at=NOON + HOUR_MS),
]


@settings(max_examples=40)
@given(st.lists(st.booleans(), max_size=10))
def test_renamed_evses_leave_in_every_order_of_the_topics(order: list[bool]) -> None:
    events = charged("A", NOON, "a") + charged("B", NOON + MINUTE, "b") + charged("C", NOON + 2 * HOUR_MS, "c")
    document = folded_in(order, RENAMED, events)
    assert evses(document) == {"C": "AVAILABLE", "D": "UNKNOWN"}
    assert (document["total_outlets"], document["free_outlets"], document["unknown_outlets"]) == (2, 1, 1)


@settings(max_examples=40)
@given(st.lists(st.booleans(), max_size=10))
def test_an_evse_that_left_stays_while_a_car_is_at_it(order: list[bool]) -> None:
    document = folded_in(order, RENAMED, [event("started", NOON, evse_id="A")])
    assert evses(document) == {"A": "CHARGING", "C": "UNKNOWN", "D": "UNKNOWN"}
    assert [session["evse_id"] for session in document["sessions"]] == ["A"]
    ended = [event("started", NOON, evse_id="A"), *charged("A", NOON, "s1")[1:]]
    assert evses(folded_in(order, RENAMED, ended)) == {"C": "UNKNOWN", "D": "UNKNOWN"}


_ids = st.sampled_from("ABCDE")
_records = st.lists(
    st.builds(
        lambda names, total, hours, scope: record(
            evses=listed(*sorted(names)), total_outlets=total, observed_at=NOON + hours * HOUR_MS, snapshot_scope=scope
        ),
        st.sets(_ids),
        st.integers(0, 4),
        st.integers(-3, 12),
        st.sampled_from(["all", "undeclared", None]),
    ),
    max_size=4,
)
_events = st.lists(
    st.builds(
        lambda kind, minutes, session, sequence, evse_id: event(
            kind,
            NOON + minutes * MINUTE,
            session,
            sequence,
            evse_id=None if kind in ("queued", "abandoned") else evse_id,
            connector_id=evse_id.lower(),
            started_at=NOON - HOUR_MS,
            energy_delivered_kwh=1.0,
            state_of_charge=float(sequence),
        ),
        st.sampled_from(["queued", "abandoned", "started", "meter", "suspended", "stopped", "faulted"]),
        st.integers(-600, 600),
        st.sampled_from(["s1", "s2", "s3"]),
        st.integers(0, 5),
        _ids,
    ),
    max_size=8,
)


@pytest.mark.slow
@given(st.lists(st.booleans(), max_size=14), _records, _events)
def test_the_order_in_which_the_topics_arrive_does_not_matter(order: list[bool], records: Rows, events: Rows) -> None:
    document = folded_in(order, records, events)
    assert document == folded_in([True] * len(records), records, events)
    plugged = {session["evse_id"] for session in document["sessions"]}
    assert plugged <= evses(document).keys()
    assert len(plugged) == len(document["sessions"])


def test_evses_that_only_events_know_fill_what_the_list_lacks() -> None:
    registry = record(evses=listed("A", "B"), total_outlets=3)
    events = charged("X", NOON, "x") + charged("Y", NOON + HOUR_MS, "y")
    assert evses(folded(*events, registry=registry).document()) == {
        "A": "UNKNOWN",
        "B": "UNKNOWN",
        "Y": "AVAILABLE",
    }
    # the registry knows no EVSE: all that were heard of count
    assert evses(folded(*events, registry=record(evses=None, total_outlets=1)).document()).keys() == {"X", "Y"}


def test_the_files_of_a_site_add_up() -> None:
    """A recorded file lists the EVSEs that its sessions used, not all that exist."""
    site = Site("st", "Station", 40.7, -73.9, "America/New_York")
    files = [
        {"A": Connector("J1772", 7.2), "B": Connector(None, None)},
        {"B": Connector("CHADEMO", 50.0), "C": Connector(None, None)},
    ]
    state = StationState("st")
    for number, evses_of_file in enumerate(files):
        state.register(registry_record(site, evses_of_file, "generic") | {"observed_at": NOON + number})
    document = state.document()
    assert {evse["evse_id"]: evse["connector_type"] for evse in document["evses"]} == {
        "A": "J1772",
        "B": "CHADEMO",
        "C": None,
    }
    assert document["total_outlets"] == 3
    # a registry that knows the station decides
    state.register(record(evses=listed("C"), total_outlets=1, snapshot_scope="all", observed_at=NOON + HOUR_MS))
    assert evses(state.document()).keys() == {"C"}


def test_a_record_without_evses_does_not_take_them_away() -> None:
    state = folded(registry=record(evses=listed("A", "B")))
    state.register(record(evses=None, total_outlets=2, observed_at=NOON + HOUR_MS))
    assert evses(state.document()).keys() == {"A", "B"}


def test_unknown_evses_do_not_grow_the_document_without_bound() -> None:
    state = StationState("st")
    for number in range(MAX_EVSES + 5):
        state.apply(event("started", NOON + number, f"s{number}", evse_id=f"e{number}"))
    assert len(state.evses) == len(state.sessions) == MAX_EVSES
    document = state.document()
    assert len(document["evses"]) == len(document["sessions"]) == MAX_EVSES
    assert "e4" not in evses(document)
    # one without a car goes first, and an old event brings nobody back
    state.apply(event("stopped", NOON + HOUR_MS, "s9", 1, evse_id="e9", started_at=NOON, energy_delivered_kwh=1.0))
    state.apply(event("started", NOON + HOUR_MS + 1, "t", evse_id="new"))
    assert {"e9", "e4"}.isdisjoint(evses(state.document()))
    state.apply(event("suspended", NOON - HOUR_MS, "u", evse_id="old"))
    assert len(state.evses) == MAX_EVSES
    assert all(session.evse_id in state.evses for session in state.sessions.values())


def test_a_registry_list_is_bounded_too() -> None:
    names = [f"{number:05}" for number in range(MAX_EVSES + 5)]
    document = folded(registry=record(evses=listed(*names), total_outlets=len(names))).document()
    assert (len(document["evses"]), document["total_outlets"]) == (MAX_EVSES, MAX_EVSES + 5)


@pytest.mark.parametrize(
    "name", ["n.a.", "k.A.", ".", "", " ", "a.b", "..", "Type 2 or so", "any", "other", "x" * 40_000, "\u0000", "🔌"]
)
def test_no_text_of_a_message_becomes_a_field_name(name: str) -> None:
    registry = record(
        evses=listed("A", connector_type=name),
        connectors=[{"connector_type": name, "power_kw": 22.0, "ports": 2}],
        connector_types=[name],
        total_outlets=3,
    )
    for row in (registry, registry | {"evses": None}):
        document = folded(*charged("A", NOON, "a"), registry=row).document()
        assert document["power_kw"].keys() == document["free_power_kw"].keys() == {"any"}


def test_a_mapping_has_a_field_for_every_key() -> None:
    fields = definition(STATION_STATE)["mappings"]["properties"]
    assert fields["power_kw"]["properties"].keys() == fields["free_power_kw"]["properties"].keys() == set(POWER_KEYS)
    assert fields.keys() == folded().document().keys() | {"applied_at"}
    for alias in ALIASES:
        mappings = definition(alias)["mappings"]
        assert mappings["dynamic"] == "strict"
        assert "dynamic" not in json.dumps(mappings["properties"])


@pytest.mark.parametrize(
    ("word", "name", "keys"),
    [
        ("NACS", "TESLA", {"TESLA"}),
        ("Type 2 (max. 22 kW)", "IEC_62196_T2", {"IEC_62196_T2"}),
        ("CCS2", "IEC_62196_T2_COMBO", {"IEC_62196_T2_COMBO", "CCS"}),
        ("CCS", "CCS", {"CCS", "J1772COMBO", "IEC_62196_T2_COMBO"}),
        ("n.a.", "n.a.", set()),
    ],
)
def test_connectors_are_told_apart_by_their_one_name(word: str, name: str, keys: set[str]) -> None:
    connectors = [{"connector_type": word, "power_kw": 22.0, "ports": 1}]
    rows = [
        record(evses=listed("A", connector_type=word, power_kw=22.0), connectors=None, total_outlets=1),
        record(evses=None, connectors=connectors, total_outlets=1),
    ]
    for row in rows:
        document = folded(registry=row | {"connector_types": [word]}).document()
        assert [outlet["connector_type"] for outlet in document["outlets"]] == [name]
        assert document["power_kw"] == dict.fromkeys({"any", *keys}, 22.0)


@pytest.mark.parametrize(
    "fields",
    [
        {"evses": [None]},
        {"evses": [None, *listed("A")]},
        {"evses": [{"evse_id": None, "connector_id": None, "connector_type": None, "power_kw": None}, *listed("A")]},
        {"evses": [{"evse_id": "", "connector_id": None, "connector_type": None, "power_kw": None}]},
        {"evses": listed("A", power_kw=1e308)},
        {"evses": listed("A", power_kw=float("nan"))},
        {"evses": listed("A", power_kw=-1.0)},
        {"evses": listed("A", "A")},
        {"evses": None, "connectors": [None]},
        {"evses": None, "connectors": [{"connector_type": None, "power_kw": float("inf"), "ports": None}]},
        {"evses": None, "connectors": [{"connector_type": "J1772", "power_kw": 1e308, "ports": -5}]},
        {"evses": None, "connectors": [{"connector_type": "J1772", "power_kw": 7.0, "ports": 2**31 - 1}]},
        {"connector_types": [None]},
        {"connector_types": [None, "", "J1772"]},
        {"removed_at": 568_971_820_800_000},
        {"removed_at": 2**62},
        {"removed_at": -(2**62)},
        {"removed_at": 0},
        {"total_outlets": 2**31 - 1},
        {"total_outlets": 0},
        {"status_code": None, "time_zone": "SystemV/PST8", "station_name": "[/red]\u0000"},
    ],
)
def test_what_no_reader_can_use_is_left_out_of_a_record(fields: dict[str, Any]) -> None:
    state = folded(*charged("A", NOON, "a"), event("started", NOON + HOUR_MS, "b"), registry=record(**fields))
    document = state.document()
    assert StationState.from_document(json.loads(orjson.dumps(document))).document() == document
    assert all(evse["evse_id"] for evse in document["evses"])
    assert all(power_kw <= 4_000 for power_kw in document["power_kw"].values())
    assert sum(outlet["total"] for outlet in document["outlets"]) == document["total_outlets"] < 2**31
    assert document["is_current"] == ("removed_at" not in fields)
    assert (document["removed_at"] is None) == document["is_current"]


def test_a_car_that_hardly_gains_has_no_expected_end() -> None:
    state = folded(
        event("started", NOON, state_of_charge=20.0),
        event("meter", NOON + HOUR_MS, sequence=1, state_of_charge=20.000000001, power_kw=100.0),
    )
    assert state.document()["sessions"][0]["expected_end_at"] is None


def test_a_session_that_moves_to_another_evse_takes_the_place_of_the_car_there() -> None:
    state = folded(
        event("started", NOON, "a", evse_id="st-1"),
        event("started", NOON, "b", evse_id="st-2"),
        event("meter", NOON + MINUTE, "a", 1, evse_id="st-2"),
    )
    (session,) = state.document()["sessions"]
    assert (session["session_id"], session["evse_id"], session["started_at"]) == (
        "a",
        "st-2",
        "2026-03-04T12:00:00.000Z",
    )

"""The EVSEs and connectors of a station in every store, with whatever names they were sent and in whatever order."""

from __future__ import annotations

from datetime import timedelta
from secrets import token_hex
from typing import Any

import pytest
from support import NOON, Lake, meter, station, stopped

from evcharge.audit.figures import disagreements
from evcharge.audit.live_stores import station_documents
from evcharge.connections import clickhouse, elasticsearch
from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.ledger import read_ledger
from evcharge.live import rebuild
from evcharge.live.indices import STATION_STATE
from evcharge.warehouse.load_stations import load_stations

MARK = token_hex(3)
RENAMED, FILES, NAMES = f"renamed-{MARK}", f"files-{MARK}", f"names-{MARK}"
LATER = NOON + timedelta(days=1)


def evse(evse_id: str, connector_type: str | None = "J1772") -> dict[str, Any]:
    return {"evse_id": evse_id, "connector_id": "1", "connector_type": connector_type, "power_kw": 22.0}


@pytest.fixture(scope="module", autouse=True)
def published(lake: Lake) -> None:
    lake.register(
        station(RENAMED, evses=[evse("A"), evse("B")]),
        station(RENAMED, evses=[evse("C"), evse("D")], observed_at=LATER),
        station(FILES, evses=[evse("A"), evse("B")], snapshot_scope="undeclared"),
        station(FILES, evses=[evse("B"), evse("C")], snapshot_scope="undeclared", observed_at=LATER),
        station(
            NAMES,
            evses=[evse("A", "NACS"), evse("B", "n.a.")],
            connector_types=["NACS", "Type 2 (max. 22 kW)", "n.a.", "."],
        ),
    )
    events = [
        stopped(f"{MARK}-1", RENAMED, NOON, evse_id="A"),
        meter(f"{MARK}-2", RENAMED, event_type="started", evse_id="B"),
        stopped(f"{MARK}-2", RENAMED, NOON + timedelta(hours=1), evse_id="B"),
        stopped(f"{MARK}-3", RENAMED, LATER + timedelta(hours=1), evse_id="C"),
        stopped(f"{MARK}-4", FILES, NOON, evse_id="A"),
        stopped(f"{MARK}-5", NAMES, NOON, evse_id="B"),
    ]
    lake.publish(lake.send_events(events))


def documents(lake: Lake) -> dict[str, dict[str, Any]]:
    """The documents of a state computed anew, without the instant of their writing."""
    rebuild.rebuild_station_state(lake.settings, lake.spark)
    with elasticsearch(lake.settings) as client:
        answer = client.mget(index=STATION_STATE, ids=[RENAMED, FILES, NAMES])
    return {doc["_id"]: doc["_source"] | {"applied_at": None} for doc in answer["docs"]}


def test_every_order_of_the_topics_gives_the_same_documents(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    found = documents(lake)
    evses = {
        name: {evse["evse_id"]: (evse["connector_type"], evse["status"]) for evse in document["evses"]}
        for name, document in found.items()
    }
    assert evses == {
        RENAMED: {"C": ("J1772", "AVAILABLE"), "D": ("J1772", "UNKNOWN")},
        FILES: {"A": ("J1772", "AVAILABLE"), "B": ("J1772", "UNKNOWN"), "C": ("J1772", "UNKNOWN")},
        NAMES: {"A": ("TESLA", "UNKNOWN"), "B": ("n.a.", "AVAILABLE")},
    }
    assert {name: document["total_outlets"] for name, document in found.items()} == {RENAMED: 2, FILES: 3, NAMES: 2}
    assert found[NAMES]["power_kw"] == {"any": 22.0, "TESLA": 22.0, "IEC_62196_T2": 0.0}
    assert found[NAMES]["free_power_kw"] == {"any": 22.0}

    monkeypatch.setattr(rebuild, "TOPICS", rebuild.TOPICS[::-1])
    assert documents(lake) == found
    head = lake.repository.head().id
    overdue = read_ledger(lake.repository, SESSION_EVENTS.topic, head).offsets
    sides = station_documents(lake.settings, lake.repository, head, overdue)
    assert not [key for key, _, _ in disagreements(sides) if key[0] in found]


def test_the_warehouse_has_the_same_outlets_and_names(lake: Lake) -> None:
    load_stations(lake.settings, lake.repository, lake.spark, "test-run")
    client = clickhouse(lake.settings)
    rows = client.execute(
        "SELECT station_id, total_outlets, connector_types FROM dim_station WHERE station_id IN %(ids)s ORDER BY station_id",
        {"ids": [RENAMED, FILES, NAMES]},
    )
    assert {name: (outlets, types) for name, outlets, types in rows} == {
        RENAMED: (2, []),
        FILES: (3, []),
        NAMES: (2, [".", "IEC_62196_T2", "TESLA", "n.a."]),
    }

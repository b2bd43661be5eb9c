"""Reference data on the real server: filled once, loaded by content, read by simulation and warehouse."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from support import NOON, Lake, evcharge, station, stopped

from evcharge.connections import mongodb
from evcharge.reference import mongodb as reference
from evcharge.reference.from_lake import sync_stations
from evcharge.reference.mongodb import Upserted
from evcharge.settings import Settings
from evcharge.simulated.world import world_of
from evcharge.warehouse.load_ev_models import load_ev_models
from simulation import build_network

Row = dict[str, Any]

#: New names in every run of the module, so that its stations were never loaded before.
MARK = token_hex(3)

STATION_FILE = f"""\
Station ID,Latitude,Longitude,Address,Charger Type,Cost (USD/kWh),Availability,Distance to City (km),\
Usage Stats (avg users/day),Station Operator,Charging Capacity (kW),Connector Types,Installation Year,\
Renewable Energy Source,Reviews (Rating),Parking Spots,Maintenance Frequency
T{MARK}1,52.52,13.405,"2 Berlin Ave, Berlin",DC Fast Charger,0.4,24/7,1,9,Ionity,150,CCS,2020,Yes,4,7,Annually
T{MARK}2,52.52,13.405,"2 Berlin Ave, Berlin",AC Level 1,0.4,24/7,1,9,Ionity,350,Type 2,2020,Yes,4,7,Annually
"""


def connectors(power_kw: float) -> list[Row]:
    return [{"connector_type": "J1772", "power_kw": power_kw, "ports": 2}]


def stored(settings: Settings, station_id: str) -> Row:
    with mongodb(settings) as database:
        document = database[reference.STATIONS].find_one({"_id": station_id})
    assert document is not None
    return document


def test_the_bootstrap_filled_the_collections_and_fills_them_once(platform: Settings) -> None:
    held = {(part.collection, part.source): part.documents for part in reference.held(platform)}
    assert held[reference.STATIONS, "synthetic"] == 640
    assert held[reference.EV_MODELS, "open-ev-data"] == 12
    assert reference.ensure(platform) == {}


def test_the_same_again_changes_nothing(platform: Settings) -> None:
    rows = [station(f"ref-{MARK}-{number}", connectors=connectors(7.2)) for number in range(450)]
    assert reference.upsert_stations(platform, rows) == Upserted(inserted=450)
    loaded_at = stored(platform, f"ref-{MARK}-7")["loaded_at"]
    later = [row | {"observed_at": NOON + timedelta(days=1), "snapshot_scope": "all"} for row in rows]
    assert reference.upsert_stations(platform, [*rows, *later]) == Upserted(unchanged=450)
    assert stored(platform, f"ref-{MARK}-7")["loaded_at"] == loaded_at
    assert reference.upsert_stations(platform, [rows[7] | {"status_code": "T"}]) == Upserted(changed=1)
    assert stored(platform, f"ref-{MARK}-7")["status_code"] == "T"


def test_the_newest_row_wins_and_what_it_does_not_know_stays(platform: Settings) -> None:
    evses = [{"evse_id": "a", "connector_id": "1", "connector_type": "J1772", "power_kw": 7.2}]
    row = station(f"ref-known-{MARK}", connectors=connectors(7.2), evses=evses)
    reference.upsert_stations(platform, [row | {"facility_type": "HOTEL", "access_code": "public"}])
    newer = row | {"observed_at": NOON + timedelta(days=1), "evses": None, "city": "Here"}
    reference.upsert_stations(platform, [newer, row | {"city": "There"}])
    document = stored(platform, f"ref-known-{MARK}")
    assert (document["city"], document["facility_type"], document["evses"]) == ("Here", "HOTEL", evses)
    assert reference.upsert_stations(platform, [row | {"city": "Past"}]) == Upserted(older=1)
    # the EVSEs of before do not belong to the new connectors
    reference.upsert_stations(platform, [newer | {"connectors": connectors(11.5)}])
    assert stored(platform, f"ref-known-{MARK}")["evses"] is None


def test_stations_are_found_by_distance(platform: Settings) -> None:
    reference.upsert_stations(
        platform, [station(f"ref-near-{km}", latitude=-10 - km / 111, longitude=100.0) for km in (1, 5, 50)]
    )
    here = {"type": "Point", "coordinates": [100.0, -10.0]}
    with mongodb(platform) as database:
        near = database[reference.STATIONS].find({"location": {"$near": {"$geometry": here, "$maxDistance": 20_000}}})
        assert [document["_id"] for document in near] == ["ref-near-1", "ref-near-5"]


def test_kaggles_file_by_the_command(platform: Settings, tmp_path: Path) -> None:
    path = tmp_path / "charging_stations.csv"
    path.write_text(STATION_FILE)
    counts = []
    for _ in range(2):
        done = evcharge("reference", "load", str(path), "--json")
        assert done.returncode == 0, done.stderr
        (report,) = json.loads(done.stdout)
        assert report["refused"] == 1
        assert report["reasons"]["POWER_OF_TYPE"]["rows"] == 1
        counts.append((report["inserted"], report["unchanged"]))
    assert counts == [(1, 0), (0, 1)]
    assert stored(platform, f"kag-T{MARK}1")["time_zone"] == "Europe/Berlin"
    status = json.loads(evcharge("reference", "status", "--json").stdout)
    assert {"kaggle", "synthetic"} <= {part["source"] for part in status}


def test_a_wrong_file_is_refused_by_the_command(platform: Settings, tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    done = evcharge("reference", "load", str(path))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "charging_stations.csv" in done.stderr


def test_the_simulation_gets_the_built_in_network(platform: Settings) -> None:
    synthetic = [row for row in reference.stations(platform, open_only=True) if row["source"] == "synthetic"]
    network = world_of(synthetic, reference.ev_models(platform), 640, 7).network
    sockets, built_in = (
        Counter((evse.connector_type, evse.power_kw) for s in stations for evse in s.evses)
        for stations in (network.stations, build_network(640, 7).stations)
    )
    assert sockets == built_in


def test_stations_come_from_the_lake(platform: Settings, lake: Lake) -> None:
    gone_at = NOON + timedelta(hours=2)
    first = station("ref-lake-gone", connectors=connectors(7.2), connector_types=["J1772"])
    lake.register(
        first,
        first | {"observed_at": gone_at, "removed_at": gone_at},
        station(
            "ref-lake-kept", evses=[{"evse_id": "a", "connector_id": "1", "connector_type": "J1772", "power_kw": 7.2}]
        ),
    )
    _, commit = sync_stations(platform, lake.repository)
    assert commit == lake.repository.head().id
    assert stored(platform, "ref-lake-gone")["removed_at"] == gone_at
    assert stored(platform, "ref-lake-kept")["evses"][0]["power_kw"] == 7.2
    open_ids = {row["station_id"] for row in reference.stations(platform, open_only=True)}
    assert "ref-lake-kept" in open_ids
    assert "ref-lake-gone" not in open_ids
    again, _ = sync_stations(platform, lake.repository)
    assert (again.inserted, again.changed) == (0, 0)


@pytest.fixture
def session_ended_at(lake: Lake) -> datetime:
    lake.register(station("ref-wh"))
    planned = lake.send_events([stopped("ref-wh-1", "ref-wh", ev_id="ref-car", ev_model_id="nissan-leaf-40")])
    lake.publish(planned)
    lake.load([NOON.date()])
    return NOON


def test_models_reach_the_warehouse(platform: Settings, lake: Lake, session_ended_at: datetime) -> None:
    count = len(reference.ev_models(platform))
    for _ in range(2):
        assert load_ev_models(platform, "test-run") == count
        assert lake.query("SELECT count(), uniqExact(ev_model_id) FROM dim_ev_model") == [(count, count)]
    (leaf,) = lake.query(
        "SELECT usable_kwh, ac_kw, dc_kw, consumption_kwh_per_100km, connector_types, source FROM dim_ev_model "
        "WHERE ev_model_id = 'nissan-leaf-40'"
    )
    assert leaf == (38.0, 6.6, 45.0, 16.4, ["J1772", "CHADEMO"], "open-ev-data")
    shown = lake.query("SELECT make, model FROM v_charging_sessions WHERE session_id = 'ref-wh-1'")
    assert shown == [("Nissan", "Leaf 40 kWh")]
    assert not lake.query("SHOW TABLES LIKE 'staging_dim_ev_model%'")

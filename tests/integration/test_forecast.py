"""The forecast on real servers: trained on a ClickHouse, saved in an Elasticsearch, asked about a station's live state.

The sessions are in a database of their own, so that the platform's other sessions do not count.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

import numpy as np
import pytest
from elasticsearch import Elasticsearch
from support import meter, station, stopped

from evcharge.connections import clickhouse, elasticsearch
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY, Contract
from evcharge.errors import UserError
from evcharge.forecast import model_store
from evcharge.forecast.daily_training import saved_score, train_daily, why_train
from evcharge.forecast.warehouse_sessions import read_window
from evcharge.live import indices
from evcharge.live.indices import STATION_STATE, VEHICLE_POSITION
from evcharge.live.station_folder import fold_into
from evcharge.live.stream_status import QueryStatus, write_status
from evcharge.live.vehicle_positions import write_positions
from evcharge.queries.availability import read_station
from evcharge.queries.client import Queries
from evcharge.queries.forecast import ForecastQuestion
from evcharge.queries.freshness import heard_since, utc_text
from evcharge.settings import Settings
from evcharge.warehouse import schema
from evcharge.warehouse.tables import FACT, STATIONS

NOW = datetime.now(UTC)
PREFIX = f"fc-{token_hex(3)}"
FULL, FREE, SILENT, CLOSED = (f"{PREFIX}-{name}" for name in ("full", "free", "silent", "closed"))
#: The last day of the sessions, a Sunday.
UNTIL = datetime(2026, 6, 8, tzinfo=UTC)


@dataclass
class World:
    settings: Settings
    client: Elasticsearch
    offset: int = 0

    def fold(self, contract: Contract, row: dict[str, Any]) -> None:
        self.offset += 1
        record = {name: _in_ms(row.get(name)) for name in contract.columns}
        record |= {"kafka_partition": 0, "kafka_offset": self.offset}
        fold_into(self.client, STATION_STATE, contract.topic, {row["station_id"]: [record]})

    def register(self, station_id: str, **fields: Any) -> None:
        evses = [
            {"evse_id": f"{station_id}-{n}", "connector_id": "1", "connector_type": "J1772COMBO", "power_kw": 150.0}
            for n in (1, 2)
        ]
        row = station(station_id, evses=evses, connector_types=["J1772COMBO"], **fields)
        self.fold(STATION_REGISTRY, row | {"observed_at": NOW - timedelta(days=30)})

    def begin(self, station_id: str, number: int, minutes: float) -> None:
        session_id, evse_id = f"{station_id}-{number}-{token_hex(2)}", f"{station_id}-{number}"
        at = NOW - timedelta(minutes=minutes)
        self.fold(SESSION_EVENTS, meter(session_id, station_id, occurred_at=at, evse_id=evse_id, event_type="started"))

    def leave(self, station_id: str, number: int) -> None:
        row = stopped(
            f"{station_id}-{number}", station_id, NOW - timedelta(minutes=5), evse_id=f"{station_id}-{number}"
        )
        self.fold(SESSION_EVENTS, row)


def _in_ms(value: Any) -> Any:
    return int(value.timestamp() * 1000) if isinstance(value, datetime) else value


@pytest.fixture(scope="module")
def world(platform: Settings) -> Iterator[World]:
    """`full` has two cars at two fast outlets, `free` none, `silent` sent nothing, `closed` is closed for now."""
    settings = platform.model_copy(update={"clickhouse_database": f"forecast_{token_hex(3)}"})
    indices.ensure(settings)
    schema.apply(settings)
    with elasticsearch(settings) as client:
        client.options(ignore_status=404).indices.delete(index=model_store.INDEX)
        made = World(settings, client)
        for station_id in (FULL, FREE, SILENT):
            made.register(station_id)
        made.register(CLOSED, status_code="T")
        made.begin(FULL, 1, 20)
        made.begin(FULL, 2, 5)
        made.leave(FREE, 1)
        made.leave(FREE, 2)
        for query in ("stations", "vehicles"):
            write_status(client, QueryStatus(query, "test", "test", utc_text(NOW), utc_text(NOW)))
        client.indices.refresh(index=STATION_STATE)
        yield made
        for station_id in (FULL, FREE, SILENT, CLOSED):
            client.delete(index=STATION_STATE, id=station_id)
        client.options(ignore_status=404).delete(index=VEHICLE_POSITION, id=f"{PREFIX}-car")
        for query in ("stations", "vehicles"):
            client.options(ignore_status=404).delete(index="stream-status", id=query)
        client.options(ignore_status=404).indices.delete(index=model_store.INDEX)
    clickhouse(settings, database="default").execute(f"DROP DATABASE {settings.clickhouse_database}")


def load(settings: Settings, days: int, seed: int = 1) -> int:
    """Fills the warehouse with `days` of sessions of ten fast chargers and ten shops, two outlets each; their number."""
    random = np.random.default_rng(seed)
    stations: list[Any] = []
    rows: list[Any] = []
    for number in range(20):
        is_fast = number < 10
        station_id = f"{PREFIX}-{number:02d}"
        # the first is the station that is asked about
        station_id = FULL if number == 0 else station_id
        stations.append(
            {
                "station_id": station_id,
                "time_zone": "America/Los_Angeles",
                "total_outlets": 2,
                "max_power_kw": 150.0 if is_fast else 7.2,
                "connector_types": ["J1772COMBO" if is_fast else "J1772"],
            }
        )
        for evse in (1, 2):
            at = UNTIL - timedelta(days=days) + timedelta(hours=random.uniform(0, 3))
            while at < UNTIL - timedelta(hours=3):
                stay = timedelta(minutes=float(random.lognormal(3.4 if is_fast else 4.6, 0.4)))
                rows.append(_fact(station_id, evse, len(rows), at, at + stay))
                at += stay + timedelta(minutes=float(random.exponential(40 if is_fast else 120)))
    client = clickhouse(settings)
    for table, content in ((STATIONS, stations), (FACT, rows)):
        client.execute(f"TRUNCATE TABLE {table}")
        client.execute(f"INSERT INTO {table} ({', '.join(content[0])}) VALUES", content)
    client.disconnect()
    return len(rows)


def _fact(station_id: str, evse: int, number: int, started_at: datetime, ended_at: datetime) -> dict[str, Any]:
    local = started_at - timedelta(hours=7)
    return {
        "session_id": f"session-{number}",
        "station_id": station_id,
        "evse_id": f"{station_id}-{evse}",
        "started_at": started_at.replace(tzinfo=None),
        "ended_at": ended_at.replace(tzinfo=None),
        "local_date": local.date(),
        "local_hour": local.hour,
        "duration_s": (ended_at - started_at).total_seconds(),
        "queue_wait_s": 0.0,
        "end_reason": "EVDisconnected",
    }


def ask(world: World, station_id: str, in_minutes: float | None = None, **asked: Any) -> dict[str, Any]:
    with Queries(world.settings, world.client) as queries:
        answer = queries.forecast(ForecastQuestion(station_id, in_minutes, **asked), NOW)
    return dict(json.loads(json.dumps(answer.to_json())))


def test_before_anything_was_learned_published_figures_answer_and_say_so(world: World) -> None:
    assert train_daily(world.settings, NOW) is None
    assert why_train(world.settings, None, NOW) is None
    answer = ask(world, FULL)
    assert "published figures" in answer["source"]
    assert answer["model"] == {"version": "prior", "trained_at": None, "trained_on": {}}
    assert answer["score"] is None
    assert [point["in_min"] for point in answer["points"]] == list(range(0, 241, 10))
    assert answer["points"][0]["probability_free"] == 0.0
    assert answer["points"][-1]["probability_free"] > 0.5
    with pytest.raises(UserError, match="scored yet"):
        saved_score(world.settings)


def test_a_free_station_is_free_now_and_an_unknown_one_is_not(world: World) -> None:
    assert ask(world, FREE, 0)["points"][0]["probability_free"] == 1.0
    silent = ask(world, SILENT, 0)
    assert silent["points"][0]["probability_free"] < 1.0
    assert (silent["points"][0]["low"], silent["points"][0]["high"]) == (0.0, 1.0)
    assert "nothing was heard" in silent["note"]


def test_a_closed_station_is_never_free(world: World) -> None:
    answer = ask(world, CLOSED, 30)
    assert "closed for now" in answer["note"]
    assert answer["points"][0]["probability_free"] == 0.0
    assert answer["points"][0]["expected_wait_s"] is None


def test_an_unknown_station_and_a_connector_that_it_lacks_are_refused(world: World) -> None:
    with pytest.raises(UserError, match="no station 'nowhere'"):
        ask(world, "nowhere")
    with pytest.raises(UserError, match="no outlet that fits"):
        ask(world, FULL, connector="CHAdeMO")


def test_a_car_on_its_way_takes_the_free_outlet(world: World) -> None:
    before = ask(world, FREE, 20)["points"][0]
    car = {
        "vehicle_id": f"{PREFIX}-car",
        "occurred_at": NOW,
        "latitude": 34.15,
        "longitude": -118.1,
        "speed_kmh": 40.0,
        "ignition": True,
        "state_of_charge": 20.0,
        "destination_station_id": FREE,
    }
    row = {name: _in_ms(car.get(name)) for name in VEHICLE_TELEMETRY.columns}
    write_positions(world.client, VEHICLE_POSITION, [row])
    world.client.indices.refresh(index=VEHICLE_POSITION)
    after = ask(world, FREE, 20)["points"][0]
    assert after["expected_free"] < before["expected_free"] - 0.5
    assert after["probability_free"] < before["probability_free"]


def test_many_stations_are_asked_at_once(world: World) -> None:
    with Queries(world.settings, world.client) as queries:
        waits = queries.waits([FULL, FREE, CLOSED, "nowhere", ""], "J1772COMBO", 100.0, NOW)
        assert sorted(waits) == sorted([FULL, FREE, CLOSED])
        assert waits[FULL].wait_s(0) > 60
        assert waits[FREE].wait_s(0) == 0.0
        assert np.isinf(waits[CLOSED].wait_s(30))
        one = queries.forecast(ForecastQuestion(FULL, 40, "CCS", 100.0), NOW)
        assert waits[FULL].chance(40) == pytest.approx(one.points[0].probability_free)
        documents = world.client.mget(index=STATION_STATE, ids=[FULL, FREE, SILENT])["docs"]
        fresh, since = waits_freshness(queries), heard_since(world.settings, NOW)
        shown = [read_station(found["_source"], fresh, since) for found in documents]
        full, free, silent = queries.likely_free(shown, ["America/Los_Angeles"] * 3, 30, NOW)
    assert full is not None
    assert free is not None
    assert full < free
    assert silent is None


def waits_freshness(queries: Queries) -> Any:
    return queries.forecast(ForecastQuestion(FREE, 0), NOW).fresh


def test_a_model_is_trained_scored_and_used_and_the_same_sessions_change_nothing(world: World) -> None:
    count = load(world.settings, days=6)
    assert why_train(world.settings, None, NOW) is not None
    first = train_daily(world.settings, NOW)
    assert first is not None
    assert first.sessions == count
    assert first.saved.is_new
    assert first.score is not None
    assert [horizon["minutes"] for horizon in first.score["horizons"]] == [10, 30, 60, 120]
    stored = world.client.get(index=model_store.INDEX, id=first.saved.version)
    current = world.client.get(index=model_store.INDEX, id=model_store.CURRENT)

    again = train_daily(world.settings, NOW + timedelta(hours=1))
    assert again is not None
    assert (again.saved.version, again.saved.is_new) == (first.saved.version, False)
    # not even written again
    assert world.client.get(index=model_store.INDEX, id=first.saved.version) == stored
    assert world.client.get(index=model_store.INDEX, id=model_store.CURRENT)["_version"] == current["_version"]

    answer = ask(world, FULL)
    assert answer["model"]["version"] == first.saved.version
    assert answer["model"]["trained_on"]["sessions"] == count
    assert "sessions of this platform" in answer["source"]
    assert answer["score"] == saved_score(world.settings)
    assert answer["points"][0]["probability_free"] == 0.0
    # a fast charger whose cars stay half an hour
    assert answer["points"][3]["probability_free"] > 0.5


def test_what_clickhouse_counts_is_what_is_counted_here(world: World) -> None:
    from evcharge.forecast.training import cohort_end_s, counts_of

    load(world.settings, days=6)
    window = read_window(world.settings, 28)
    assert window is not None
    here = counts_of(window.sample, window.since_s, cohort_end_s(window.since_s, window.until_s))
    assert window.counts.starts.tolist() == here.starts.tolist()
    assert window.counts.stays.tolist() == here.stays.tolist()
    power_kw = dict(zip(window.counts.sites.station_ids, window.counts.sites.power_kw.tolist(), strict=True))
    assert (power_kw[FULL], power_kw[f"{PREFIX}-19"]) == (150.0, 7.2)


def test_other_sessions_are_another_version_and_a_reader_takes_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_store, "ASKED_EVERY_S", 0.0)
    load(world.settings, days=6)
    one = train_daily(world.settings, NOW)
    with Queries(world.settings, world.client) as queries:
        before = queries.model().version
        load(world.settings, days=3, seed=2)
        other = train_daily(world.settings, NOW)
        assert one is not None
        assert other is not None
        assert before == one.saved.version != other.saved.version
        assert queries.model().version == other.saved.version


def test_only_the_newest_days_are_read(world: World) -> None:
    load(world.settings, days=6)
    window = read_window(world.settings, 2)
    assert window is not None
    assert 1.5 < (window.until_s - window.since_s) / 86_400 <= 2
    assert len(window.sample) == window.sessions


def test_the_asset_trains_and_its_check_judges(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import dagster as dg

    from evcharge_assets.forecast import MODEL, SCORE, forecast, forecast_is_good_enough
    from evcharge_assets.resources import Platform

    count = load(world.settings, days=6)
    monkeypatch.setenv("EVCHARGE_CLICKHOUSE_DATABASE", world.settings.clickhouse_database)
    run = dg.materialize([forecast, forecast_is_good_enough], resources={"platform": Platform()})
    assert run.success
    model, score = (run.asset_materializations_for_node("forecast")[n].metadata for n in (0, 1))
    assert model["dagster/row_count"].value == count
    assert model["version"].value == score["version"].value
    (evaluation,) = run.get_asset_check_evaluations()
    assert (evaluation.asset_key, evaluation.severity) == (SCORE, dg.AssetCheckSeverity.WARN)
    assert {m.asset_key for m in run.asset_materializations_for_node("forecast")} == {MODEL, SCORE}
    # the check says what the score says
    assert evaluation.passed == (not saved_score(world.settings)["shortcomings"])

"""Trips on a real Elasticsearch and MongoDB, over stations whose state the live path's own functions wrote."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from routing_server import engine_at, osrm_at_80_kmh
from support import evcharge, meter, station, stopped

from evcharge.connections import elasticsearch
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.errors import UserError
from evcharge.live import indices
from evcharge.live.indices import STATION_STATE, STREAM_STATUS
from evcharge.live.station_folder import fold_into
from evcharge.live.stream_status import QueryStatus, write_status
from evcharge.queries.client import Queries
from evcharge.queries.freshness import utc_text
from evcharge.queries.trip import TripAnswer, TripQuestion
from evcharge.settings import Settings

NOW = datetime.now(UTC)
PREFIX = f"trip-1{token_hex(3)}"
#: On the ice of Antarctica, away from every other test's stations: 333 km along a meridian, by the estimate 434 km of road.
LONGITUDE, SOUTH, NORTH = 60.0, -78.0, -75.0
START, END = f"{SOUTH},{LONGITUDE}", f"{NORTH},{LONGITUDE}"
KM = 1 / 111.195
BOLT = "chevrolet-bolt"


class Ice:
    """Stations beside the way, and what they sent."""

    def __init__(self, settings: Settings, client: Elasticsearch) -> None:
        self.settings, self.client, self.offset = settings, client, 0

    def register(self, name: str, km: float, *kinds: tuple[str, float], **fields: Any) -> None:
        station_id = f"{PREFIX}-{name}"
        evses = [
            {"evse_id": f"{station_id}-{n}", "connector_id": "1", "connector_type": kind, "power_kw": power}
            for n, (kind, power) in enumerate(kinds, start=1)
        ]
        row = station(
            station_id,
            latitude=SOUTH + km * KM,
            longitude=LONGITUDE + 0.02,
            evses=evses,
            connector_types=sorted({kind for kind, _ in kinds}),
            total_outlets=len(evses),
            **fields,
        )
        self.fold(STATION_REGISTRY, {**row, "observed_at": NOW - timedelta(days=30)})

    def send(self, *events: dict[str, Any]) -> None:
        for event in events:
            self.fold(SESSION_EVENTS, event)
        self.client.indices.refresh(index=STATION_STATE)

    def fold(self, contract: Any, row: dict[str, Any]) -> None:
        self.offset += 1
        record = {name: _in_ms(row.get(name)) for name in contract.columns}
        record |= {"kafka_partition": 0, "kafka_offset": self.offset}
        fold_into(self.client, STATION_STATE, contract.topic, {row["station_id"]: [record]})

    def free(self, name: str) -> None:
        self.send(stopped(f"{name}-{token_hex(2)}", f"{PREFIX}-{name}", NOW - timedelta(minutes=20)))

    def fill(self, name: str) -> None:
        """A car that came a minute ago charges."""
        session: dict[str, Any] = {
            "state_of_charge": 12.0,
            "event_type": "started",
            "occurred_at": NOW - timedelta(minutes=1),
        }
        self.send(meter(f"{name}-{token_hex(2)}", f"{PREFIX}-{name}", **session))

    def ask(self, **asked: Any) -> TripAnswer:
        values: dict[str, Any] = {"start": START, "to": END, "model": BOLT, "soc": 60, **asked}
        with Queries(self.settings, self.client) as queries:
            return queries.trip(TripQuestion(**values), NOW)


def _in_ms(value: Any) -> Any:
    return int(value.timestamp() * 1000) if isinstance(value, datetime) else value


def stops(answer: TripAnswer) -> list[str]:
    return [stop.visit.candidate.station.station_id.removeprefix(f"{PREFIX}-") for stop in answer.stops]


@pytest.fixture
def ice(platform: Settings) -> Iterator[Ice]:
    """one and two, 20 and 27 km from the start: each has one outlet, which is free. The car cannot charge at planned and at
    chademo, between them."""
    indices.ensure(platform)
    with elasticsearch(platform) as client:
        ice = Ice(platform, client)
        ccs = ("J1772COMBO", 150.0)
        ice.register("one", 20.0, ccs)
        ice.register("two", 27.0, ccs)
        ice.register("planned", 21.0, ccs, status_code="P")
        ice.register("chademo", 21.0, ("CHADEMO", 100.0))
        ice.free("one")
        ice.free("two")
        as_of = utc_text(NOW - timedelta(seconds=2))
        write_status(client, QueryStatus("stations", "test", "test", as_of, as_of))
        client.indices.refresh(index=STREAM_STATUS)
        yield ice
        # Nothing that is in no lake may stay: other tests compare the stores.
        found = client.search(index=STATION_STATE, query={"prefix": {"station_id": PREFIX}}, size=100, source=False)
        gone = [{"delete": {"_id": hit["_id"]}} for hit in found["hits"]["hits"]]
        client.bulk(index=STATION_STATE, operations=gone, refresh=True)
        client.options(ignore_status=404).delete(index=STREAM_STATUS, id="stations", refresh=True)


def test_a_car_is_sent_elsewhere_when_its_stop_fills_up(ice: Ice) -> None:
    before = ice.ask()
    assert len(before.stops) == 1
    assert before.failing_leg is None
    (chosen,) = stops(before)
    other = {"one": "two", "two": "one"}[chosen]
    assert before.stops[0].alternative is not None
    assert before.stops[0].alternative.visit.candidate.station.station_id == f"{PREFIX}-{other}"
    assert before.stops[0].visit.probability_free > 0.5
    ice.fill(chosen)
    full = ice.ask(depart_at=NOW)
    assert stops(full) == [other]
    alternative = full.stops[0].alternative
    assert alternative is not None
    assert alternative.visit.expected_wait_s > full.stops[0].visit.expected_wait_s
    assert alternative.visit.probability_free < full.stops[0].visit.probability_free
    assert stops(ice.ask(avoid=(f"{PREFIX}-{other}",))) == [chosen]


def test_an_answer_adds_up(ice: Ice) -> None:
    answer = ice.ask()
    document = answer.to_json()
    assert document["total_s"] == pytest.approx(
        document["drive_s"] + document["charge_s"] + document["wait_s"] + 300 * len(document["stops"]), abs=3
    )
    assert document["distance_km"] == pytest.approx(434, rel=0.02)
    assert document["distance_is_estimate"] is True
    charged = sum(stop["energy_kwh"] for stop in document["stops"])
    left = document["legs"][-1]["soc_end"] / 100 * 58.0
    assert 0.6 * 58.0 + charged - document["energy_kwh"] == pytest.approx(left, abs=0.1)
    assert all(leg["soc_end"] >= 10 for leg in document["legs"])
    assert document["path"][0] == [LONGITUDE, SOUTH]
    assert document["path"][-1] == [LONGITUDE, NORTH]
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    departs_at, arrives_at = (datetime.fromisoformat(document[name]) for name in ("departs_at", "arrives_at"))
    assert (arrives_at - departs_at).total_seconds() == pytest.approx(document["total_s"], abs=1)


def test_a_station_that_never_reported_is_unknown_and_not_free(ice: Ice) -> None:
    ice.register("silent", 24.0, ("J1772COMBO", 350.0))
    ice.client.indices.refresh(index=STATION_STATE)
    answer = ice.ask(avoid=(f"{PREFIX}-one", f"{PREFIX}-two"))
    (stop,) = answer.to_json()["stops"]
    assert stop["station_id"] == f"{PREFIX}-silent"
    assert stop["state"] == "unknown"
    assert stop["is_known"] is False
    assert stop["free"] == 0
    assert "unknown state" in (answer.note or "")


def test_a_car_that_cannot_make_it_gets_the_leg_and_the_reason(ice: Ice) -> None:
    answer = ice.ask(avoid=(f"{PREFIX}-one", f"{PREFIX}-two"))
    failing = answer.to_json()["failing_leg"]
    assert answer.to_json()["feasible"] is False
    assert failing["number"] == 1
    assert "needs" in failing["reason"]
    assert "no station" in (answer.note or "")
    cold = ice.ask(temperature_c=-40.0, reference_consumption=40.0)
    assert cold.failing_leg is not None


def test_a_stations_id_is_a_place(ice: Ice) -> None:
    with Queries(ice.settings, ice.client) as queries:
        (place,) = queries.places(f"{PREFIX}-one").places
        assert (place.kind, place.name) == ("station", f"Station {PREFIX}-one")
        assert [place.kind for place in queries.places("34.05,-118.24").places] == ["coordinates"]
        assert queries.places(f"{PREFIX}-nowhere-1").places == ()
    answer = ice.ask(to=f"{PREFIX}-one")
    assert answer.to.name == f"Station {PREFIX}-one"
    with pytest.raises(UserError, match="no US place"):
        ice.ask(to=f"{PREFIX}-nowhere-1")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"to": START}, "0.0 km apart"),
        ({"to": "Nowhereville"}, "to: no US place"),
        ({"start": "<script>"}, "from: no US place"),
        ({"model": "Ioniq 7"}, "no EV model"),
        ({"model": '{"$gt": ""}'}, "no EV model"),
        ({"depart_at": NOW - timedelta(hours=1)}, "60 min ago"),
        ({"depart_at": NOW + timedelta(days=500)}, "more than a year ahead"),
    ],
)
def test_what_cannot_be_planned_is_answered_in_one_line(ice: Ice, asked: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        ice.ask(**asked)
    assert "\n" not in str(error.value)


def test_an_engine_that_does_not_answer_is_replaced_by_the_estimate(ice: Ice) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with Queries(ice.settings.model_copy(update={"routing_url": url}), ice.client) as queries:
            answer = queries.trip(TripQuestion(START, END, BOLT, 60), NOW)
    assert len(answer.stops) == 1
    assert answer.is_estimate
    assert "does not answer" in (answer.note or "")


def test_an_engine_has_the_way_through_the_stops(ice: Ice) -> None:
    with engine_at(osrm_at_80_kmh) as (url, asked):
        settings = ice.settings.model_copy(update={"routing_url": url, "routing_kind": "osrm"})
        with Queries(settings, ice.client) as queries:
            answer = queries.trip(TripQuestion(START, END, BOLT, 60), NOW)
    assert answer.road_source == "osrm"
    assert not answer.is_estimate
    assert len(answer.stops) == 1
    assert len(asked) == 2
    assert answer.distance_km == pytest.approx(333.6 * 1.2, rel=0.01)
    assert answer.drive_s == pytest.approx(answer.distance_km / 80 * 3600, rel=0.001)
    assert len(answer.legs[1].path) > 20


def test_the_command_answers_as_json_and_as_a_table(ice: Ice) -> None:
    asked = ("trip", "--from", START, "--to", END, "--model", BOLT, "--soc", "60")
    document = json.loads(evcharge(*asked, "--json").stdout)
    assert document["feasible"] is True
    assert document["stops"][0]["station_id"].startswith(PREFIX)
    shown = evcharge(*asked).stdout
    assert "distances are estimates" in shown
    assert PREFIX in shown.replace("\n", "")
    wrong = evcharge("trip", "--from", START, "--to", START, "--model", BOLT, "--soc", "60")
    assert wrong.returncode == 1
    assert "apart" in wrong.stderr

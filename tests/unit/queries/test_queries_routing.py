"""The client of a routing engine, against a small HTTP server that answers as OSRM and Valhalla do."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
from routing_server import encoded, engine_at

from evcharge.queries import routing
from evcharge.queries.routing import RoutingEngine, RoutingError, polyline

LOS_ANGELES, BAKERSFIELD, FRESNO = (34.05, -118.24), (35.37, -119.02), (36.74, -119.79)


def osrm(legs: int) -> dict[str, Any]:
    points = [LOS_ANGELES, (34.9, -118.9), BAKERSFIELD, (36.0, -119.4), FRESNO][: 2 * legs + 1]
    parts = {"annotation": {"distance": [100_000.0, 80_000.0], "duration": [3_600.0, 3_000.0]}}
    return {"code": "Ok", "routes": [{"geometry": encoded(points), "legs": [parts] * legs}]}


def valhalla(legs: int) -> dict[str, Any]:
    shapes = [[LOS_ANGELES, (34.9, -118.9), BAKERSFIELD], [BAKERSFIELD, (36.0, -119.4), FRESNO]]
    parts = [
        {"begin_shape_index": 0, "length": 100.0, "time": 3600.0},
        {"begin_shape_index": 1, "length": 80.0, "time": 3000.0},
    ]
    parts.append({"begin_shape_index": 2, "length": 0.0, "time": 0.0})
    found = [
        {"shape": encoded(shape), "maneuvers": parts, "summary": {"length": 180.0, "time": 6600.0}} for shape in shapes
    ]
    return {"trip": {"legs": found[:legs]}}


def osrm_server(path: str, _: Any) -> tuple[int, Any]:
    if not path.startswith("/route/v1/driving/"):
        return 400, {"code": "InvalidUrl", "message": "URL string malformed"}
    return 200, osrm(path.partition("?")[0].count(";"))


def valhalla_server(path: str, body: Any) -> tuple[int, Any]:
    if path == "/status":
        return 200, {"version": "3.5.1"}
    return 200, valhalla(len(body["locations"]) - 1)


@pytest.mark.parametrize(("server", "source"), [(osrm_server, "osrm"), (valhalla_server, "valhalla")])
def test_the_first_answer_says_which_engine_it_is(server: Any, source: str) -> None:
    with engine_at(server) as (url, asked):
        engine = RoutingEngine(url + "/")
        (way,) = engine.routes([LOS_ANGELES, BAKERSFIELD])
        assert way.source == source
        assert way.distance_km == pytest.approx(180)
        assert way.drive_s == pytest.approx(6_600)
        assert way.km_at == pytest.approx([0, 100, 180])
        assert way.points[0] == pytest.approx(LOS_ANGELES)
        assert way.points[-1] == pytest.approx(BAKERSFIELD)
        both = engine.routes([LOS_ANGELES, BAKERSFIELD, FRESNO])
        assert [leg.distance_km for leg in both] == pytest.approx([180, 180])
        assert both[1].points[-1] == pytest.approx(FRESNO)
        assert sum(path.startswith("/status") for path in asked) == 1


def test_an_engine_that_fails_once_is_asked_again() -> None:
    answers = iter([(503, {}), (200, osrm(1))])
    with engine_at(lambda *_: next(answers)) as (url, asked):
        assert len(RoutingEngine(url, "osrm").routes([LOS_ANGELES, BAKERSFIELD])) == 1
        assert len(asked) == 2


def test_an_engine_that_keeps_failing_is_left_alone_for_a_while() -> None:
    with engine_at(lambda *_: (503, {})) as (url, asked):
        engine = RoutingEngine(url, "osrm")
        for _ in range(3):
            with pytest.raises(RoutingError, match="does not answer"):
                engine.routes([LOS_ANGELES, BAKERSFIELD])
        assert len(asked) == routing.ATTEMPTS


def test_no_engine_at_the_address_is_an_error_of_one_line() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(RoutingError, match="does not answer") as error:
            RoutingEngine(url).routes([LOS_ANGELES, BAKERSFIELD])
    assert "\n" not in str(error.value)


def test_an_engine_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "TIMEOUT_S", 0.1)

    def hangs(*_: Any) -> tuple[int, Any]:
        time.sleep(0.5)
        return 200, osrm(1)

    with engine_at(hangs) as (url, _), pytest.raises(RoutingError, match="does not answer"):
        RoutingEngine(url, "osrm").routes([LOS_ANGELES, BAKERSFIELD])


def test_where_the_engine_finds_no_way_its_reason_is_given() -> None:
    with engine_at(lambda *_: (400, {"code": "NoRoute", "message": "Impossible route between points"})) as (url, _):
        engine = RoutingEngine(url, "osrm")
        for _ in range(2):
            with pytest.raises(RoutingError, match="finds no way: Impossible route"):
                engine.routes([LOS_ANGELES, BAKERSFIELD])


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        {"routes": []},
        {"routes": [{"geometry": 7, "legs": []}]},
        {"routes": [{"geometry": "_p~iF", "legs": [{"annotation": {"distance": [1], "duration": [1]}}]}]},
        {
            "routes": [
                {
                    "geometry": encoded([LOS_ANGELES, FRESNO]),
                    "legs": [{"annotation": {"distance": [None], "duration": [1]}}],
                }
            ]
        },
        [],
    ],
)
def test_an_answer_of_another_form_is_refused(answer: Any) -> None:
    with engine_at(lambda *_: (200, answer)) as (url, _), pytest.raises(RoutingError, match="does not answer"):
        RoutingEngine(url, "osrm").routes([LOS_ANGELES, FRESNO])


def test_a_polyline_is_decoded() -> None:
    """The example of Google's description of the format."""
    points = polyline("_p~iF~ps|U_ulLnnqC_mqNvxq`@", 5)
    assert points.ravel() == pytest.approx([38.5, -120.2, 40.7, -120.95, 43.252, -126.453])

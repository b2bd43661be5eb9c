"""What `evcharge trip` prints: of which day and zone its times are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from evcharge.cli.trip import _print_trip
from evcharge.queries.ev_models import read_models
from evcharge.queries.freshness import Freshness
from evcharge.queries.trip import TripAnswer, TripLeg, TripQuestion
from evcharge.settings import Settings
from evcharge.trips.energy import Consumption
from evcharge.trips.gazetteer import Place

#: A Monday evening.
DEPARTS_AT = datetime(2026, 11, 30, 22, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def los_angeles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "America/Los_Angeles")
        time.tzset()
        yield
    time.tzset()


def printed(capsys: pytest.CaptureFixture[str], drive: timedelta, *, is_feasible: bool = True) -> list[str]:
    car = read_models(Settings(profile="small")).cars[0]
    drive_s = drive.total_seconds()
    leg = TripLeg("A", "B", 300.0, drive_s, 50.0, 80.0, 20.0, 10.0, is_feasible, [], "it is too far")
    start, to = (Place(name, "place", "CA", 34.0, -118.0) for name in ("A", "B"))
    question = TripQuestion("A", "B", car.ev_model_id, 80.0)
    fresh = Freshness(DEPARTS_AT, DEPARTS_AT, None)
    _print_trip(
        TripAnswer(question, fresh, start, to, car, Consumption(20.0), "osrm", DEPARTS_AT, (leg,), (), notes=())
    )
    return capsys.readouterr().out.splitlines()


def test_a_departure_has_its_day_and_its_zone(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, timedelta(hours=3))
    assert "departs Mon 30 Nov 14:30 PST, arrives Mon 30 Nov 17:30 PST" in lines
    assert [line.split()[-1] for line in lines if line.startswith(("A ", "B "))][-2:] == ["14:30", "17:30"]


def test_a_time_of_another_day_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, timedelta(hours=11))
    assert "departs Mon 30 Nov 14:30 PST, arrives Tue 1 Dec 01:30 PST" in lines
    assert next(line for line in lines if line.startswith("B ")).endswith("Tue 01:30")


def test_a_car_that_cannot_make_it_does_not_arrive(capsys: pytest.CaptureFixture[str]) -> None:
    assert "departs Mon 30 Nov 14:30 PST" in printed(capsys, timedelta(hours=3), is_feasible=False)

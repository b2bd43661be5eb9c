"""A message of Kafka is read as Spark reads it, so that the comparison of stores reports only what differs."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from evcharge.audit.session_rows import event_of

MESSAGE = {
    "station_id": "st",
    "event_id": "s-0",
    "session_id": "s",
    "event_type": "meter",
    "occurred_at": "2026-03-04T12:00:00.000Z",
}


def read(value: bytes) -> dict[str, Any]:
    return event_of(SimpleNamespace(partition=1, offset=7, value=value, key=b"key", timestamp=1_772_625_600_000))


def changed(**fields: Any) -> dict[str, Any]:
    return read(orjson.dumps(MESSAGE | fields))


@pytest.mark.parametrize(
    "time",
    [
        "2026-03-04T12:00:00Z",
        "2026-03-04t12:00z",
        "2026-03-04 13:00:00+0100",
        "2026-03-04T04:00:00.000000000-08",
        1_772_625_600,
        "1772625600",
    ],
)
def test_a_time_in_each_accepted_form(time: str | int) -> None:
    assert changed(occurred_at=time)["occurred_at"] == datetime(2026, 3, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize("time", ["2026-03-04T12:00:00", "2026-03-04 12:00 CET", None, True, 10**15, {}])
def test_a_time_that_cannot_be_read_is_a_difference_at_its_key(time: Any) -> None:
    event = changed(occurred_at=time)
    assert (event["station_id"], event["event_id"]) == ("key", "unreadable record 1-7")


def test_half_a_surrogate_pair_is_a_question_mark() -> None:
    event = read(orjson.dumps(MESSAGE).replace(b'"st"', b'"st-\\ud83d"'))
    assert event["station_id"] == "st-?"


def test_a_number_for_a_text_is_its_digits() -> None:
    assert changed(station_id=17)["station_id"] == "17"


def test_the_energy_is_in_whole_watt_hours() -> None:
    assert changed(energy_delivered_kwh=1.2345)["energy_wh"] == 1234
    assert changed()["energy_wh"] is None

"""The operator's tables say no more than the warehouse knows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from evcharge.queries.network import NetworkQuestion, Table, network
from evcharge.queries.network_facts import Facts, Fleet, Month, Ports
from evcharge.queries.network_sql import SUMS

NOW = datetime(2026, 11, 29, 22, tzinfo=UTC)
STATIONS = ("used", "unused")


def facts(first_at: datetime | None, last_at: datetime | None) -> Facts:
    """Two open stations, of which one had a session at each end of the period."""
    count = len(STATIONS)
    texts, zeros, ids = np.full(count, "", object), np.zeros(count, int), np.array(STATIONS, object)
    fleet = Fleet(
        keys=np.arange(count),
        station_id=ids,
        name=ids,
        city=texts,
        state=zeros,
        network=zeros,
        status=np.full(count, "E", object),
        removed=zeros,
        outlets=np.full(count, 2),
        power_kw=np.full(count, 150.0),
        is_known=np.full(count, True),
        states=("CA",),
        networks=("Own",),
    )
    first_s, last_s = (0 if at is None else int(at.timestamp()) for at in (first_at, last_at))
    used = np.array([float(bool(last_s)), 0.0])
    by_station = {**dict.fromkeys(SUMS, used), "last_at": np.array([last_s, 0])}
    month = Month(date(2026, 11, 1), by_station, np.zeros((3, 1, 1, 24)), zeros[:0], zeros[:0], zeros[:0])
    return Facts(fleet, (month,), Ports(*(zeros[:0] for _ in range(8))), first_s, last_s)


def silent(first_at: datetime | None, last_at: datetime | None) -> Table:
    return network(facts(first_at, last_at), NetworkQuestion(), NOW).table("silent_stations")


@pytest.mark.parametrize(
    ("first_ago", "title"),
    [
        (timedelta(days=30), "Open stations without a session for 7 days"),
        (timedelta(days=7, hours=1), "Open stations without a session for 7 days"),
        (timedelta(days=1), "Open stations without a session since 2026-11-28"),
    ],
)
def test_silence_is_said_of_the_days_that_are_known(first_ago: timedelta, title: str) -> None:
    table = silent(NOW - first_ago, NOW)
    assert [row[0] for row in table.rows] == ["unused"]
    assert table.title == title


def test_without_sessions_no_station_is_silent() -> None:
    table = silent(None, None)
    assert not table.rows
    assert table.title == "Open stations without a session for 7 days"

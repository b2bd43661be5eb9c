"""What the list of time zones accepts, Python knows too. That Spark knows it is tested with a real Spark."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from evcharge.contracts.time_zones import is_known_time_zone, known_time_zones


def test_python_knows_every_accepted_zone() -> None:
    assert len(known_time_zones()) > 590
    for name in known_time_zones():
        assert ZoneInfo(name).key == name


@pytest.mark.parametrize(
    "name", ["UTC", "CET", "GB", "Japan", "Singapore", "EST", "GMT+0", "America/Argentina/Ushuaia"]
)
def test_links_are_time_zones(name: str) -> None:
    assert is_known_time_zone(name)


@pytest.mark.parametrize(
    "name",
    ["", " UTC", "utc", "SystemV/PST8", "PST", "+01:00", "UTC+1", "ROC", "Mars/Olympus_Mons", "../UTC", "CET'; --"],
)
def test_other_names_are_unknown(name: str) -> None:
    assert not is_known_time_zone(name)

"""What settings refuse: what would end a job with a traceback, long after it was set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from evcharge.settings import Settings, SettingsError, load_settings

_UNITS = {"_days": "days", "_h": "hours", "_min": "minutes", "_s": "seconds"}
_TIMES = {
    name: unit
    for name, field in Settings.model_fields.items()
    for end, unit in _UNITS.items()
    if name.endswith(end) and field.annotation in (int, float)
}


def test_there_are_times_of_all_units() -> None:
    assert {"days", "hours", "seconds"} <= set(_TIMES.values())


@pytest.mark.parametrize("name", _TIMES)
def test_a_time_that_nobody_can_count_back_is_refused(name: str) -> None:
    most = next(limit.le for limit in Settings.model_fields[name].metadata if hasattr(limit, "le"))
    assert datetime.now(UTC) - timedelta(**{_TIMES[name]: most}) < datetime.now(UTC)
    load_settings(**{name: most})
    with pytest.raises(SettingsError, match=f"^EVCHARGE_{name.upper()}: .* less than or equal"):
        load_settings(**{name: most + 1})


@pytest.mark.parametrize("name", ["event_days_from", "ingest_hours_from"])
@pytest.mark.parametrize("day", ["2018-13-01", "2018-02-30", "0000-01-01", "20180101", "yesterday", ""])
def test_a_day_that_no_calendar_has_is_refused(name: str, day: str) -> None:
    with pytest.raises(SettingsError, match=f"^EVCHARGE_{name.upper()}: "):
        load_settings(**{name: day})

"""`evcharge replay --wait`: it says what arrived, and fails if rows of the replay went to quarantine."""

from __future__ import annotations

from pathlib import Path
from secrets import token_hex

import pytest
from support import Lake, station, stopped

from evcharge.cli.progress import wait_for_sessions
from evcharge.errors import UserError
from evcharge.recorded.readers import read_sessions
from evcharge.recorded.replay import ReplayReport, replay

HEADER = "session_id,station_id,evse_id,started_at,ended_at,energy_delivered_kwh"


@pytest.fixture
def mark() -> str:
    """New names in every run: the lake keeps what was sent before."""
    return f"wait-{token_hex(3)}"


def sent(lake: Lake, path: Path, *rows: tuple[str, str, int]) -> ReplayReport:
    """Replays sessions of an hour: id, station, and day of January 2025. Publishes and loads them."""
    lines = [f"{name},{at},E1,2025-01-{day:02d}T08:00Z,2025-01-{day:02d}T09:00Z,5" for name, at, day in rows]
    path.write_text("\n".join((HEADER, *lines)) + "\n")
    report = replay(lake.settings, read_sessions(path))
    lake.publish_waiting()
    lake.load_waiting()
    return report


def test_only_this_replay_s_rows_in_quarantine_are_counted(
    lake: Lake, mark: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known, unknown = f"{mark}-known", f"{mark}-unknown"
    lake.register(station(known))
    lake.send_events([stopped(f"{mark}-other", unknown)])
    rows = (f"{mark}-1", known, 3), (f"{mark}-2", unknown, 3), (f"{mark}-3", unknown, 4)
    path = tmp_path / "sessions.csv"
    with pytest.raises(UserError) as failed:
        wait_for_sessions(lake.settings, sent(lake, path, *rows), 60)
    assert str(failed.value) == (
        "4 rows went to quarantine (UNKNOWN_STATION 4); the warehouse has 1 of 3 sessions. "
        "docs/data-dictionary.md has the rules"
    )
    assert "the warehouse has them" not in capsys.readouterr().err

    # the same file again, once the station is known: its first rows stay in quarantine
    lake.register(station(unknown))
    wait_for_sessions(lake.settings, sent(lake, path, *rows), 60)
    assert capsys.readouterr().err.splitlines()[-1] == "the warehouse has them: 3 sessions"

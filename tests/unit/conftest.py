from collections.abc import Callable
from pathlib import Path

import pytest
from fake_kafka import FakePublisher

from evcharge.settings import PROJECT, Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    # without reference data the simulation has its built-in stations
    monkeypatch.setenv("EVCHARGE_PROFILE", "small")
    monkeypatch.setenv("EVCHARGE_SIMULATION_STATIONS", "8")
    monkeypatch.setenv("EVCHARGE_SIMULATION_VEHICLES", "60")
    return load_settings(home=tmp_path)


@pytest.fixture
def shared_sessions() -> Path:
    """Folder of the real recordings, which are not part of the project."""
    folder = PROJECT.parent / "shared" / "data" / "sessions"
    if not folder.is_dir():
        pytest.skip("the real recordings are not on this machine")
    return folder


@pytest.fixture
def csv_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes lines into a file of the given name."""

    def write(*lines: str, name: str = "sessions.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture
def kafka() -> FakePublisher:
    return FakePublisher()

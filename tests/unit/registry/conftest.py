from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from afdc_downloads import DOWNLOADED, RecordingKafka, WriteCsv
from afdc_server import KEY, AfdcServer

from evcharge.settings import PROJECT, Settings, load_settings


@pytest.fixture
def kafka() -> RecordingKafka:
    return RecordingKafka()


@pytest.fixture
def afdc() -> Iterator[AfdcServer]:
    with AfdcServer() as server:
        yield server


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path)


@pytest.fixture
def polling(tmp_path: Path, afdc: AfdcServer) -> Settings:
    """Settings that poll the local server."""
    return load_settings(home=tmp_path, afdc_api_url=afdc.url, afdc_api_key=KEY)


@pytest.fixture
def shared_registry() -> Path:
    """Folder of the real downloads, which are not part of the project."""
    folder = PROJECT.parent / "shared" / "data" / "nrel"
    if not folder.is_dir():
        pytest.skip("the real downloads are not on this machine")
    return folder


@pytest.fixture
def write_csv(tmp_path: Path) -> WriteCsv:
    """Writes a download: one row per dict of columns that differ from DOWNLOADED."""

    def write(*rows: Mapping[str, str], name: str = "stations.csv", columns: Sequence[str] = (*DOWNLOADED,)) -> Path:
        path = tmp_path / name
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows({**DOWNLOADED, **row} for row in rows)
        return path

    return write

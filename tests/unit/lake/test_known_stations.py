"""The file that names all stations of the registry: it says what the archive says, and is written only for new ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from lake_in_folders import LakeInFolders, install
from small_publications import NOON, candidate, planned, publish, register, registered

from evcharge.contracts import STATION_REGISTRY
from evcharge.lake import known_stations as module
from evcharge.lake.archive import ReplanError
from evcharge.lake.known_stations import known_stations, note_stations
from evcharge.lake.layout import KNOWN_STATIONS_PATH, raw_prefix
from evcharge.lake.publish import merge
from evcharge.settings import Settings

TOPIC = STATION_REGISTRY.topic


@pytest.fixture
def lake(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LakeInFolders:
    return install(settings, tmp_path / "lake", monkeypatch)


def publish_as_before(lake: LakeInFolders, *stations: str) -> None:
    """As an earlier version published: without the file."""
    wanted = planned(lake, TOPIC, len(stations), NOON)
    merge(lake, candidate(lake, wanted, [registered(name) for name in stations], notes_stations=False))


def test_no_file_of_the_archive_is_opened(lake: LakeInFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    assert known_stations(lake, "main") == frozenset()
    register(lake, "a", "b")
    register(lake, "c", "a")
    monkeypatch.setattr(module, "archive_dataset", lambda *_: pytest.fail("the archive is read"))
    assert known_stations(lake, "main") == {"a", "b", "c"}


def test_it_is_written_for_new_stations_only(lake: LakeInFolders) -> None:
    register(lake, "a", "b")
    before = lake.head().id
    register(lake, "b", "a")
    assert KNOWN_STATIONS_PATH not in dict(map(reversed, lake.diff(before, lake.head().id)))  # type: ignore[arg-type]
    register(lake, "c")
    assert ("changed", KNOWN_STATIONS_PATH) in lake.diff(before, lake.head().id)


def test_quarantined_stations_are_not_known(lake: LakeInFolders) -> None:
    register(lake, "a")
    publish(lake, [], broken=[b'{"station_id": "b"}'], topic=TOPIC)
    assert known_stations(lake, "main") == {"a"}


def test_a_lake_of_an_earlier_version_gets_it_with_the_next_publication(lake: LakeInFolders) -> None:
    publish_as_before(lake, "a", "b")
    assert lake.read("main", KNOWN_STATIONS_PATH) is None
    assert known_stations(lake, "main") == {"a", "b"}
    register(lake, "b")
    assert lake.read("main", KNOWN_STATIONS_PATH) is not None
    assert known_stations(lake, "main") == {"a", "b"}


def test_it_is_never_behind_the_archive(lake: LakeInFolders) -> None:
    """Whoever makes it from an older commit than a publication with new stations does not get to main."""
    publish_as_before(lake, "a")
    base = lake.create_branch("maintain-x")
    assert note_stations(lake, "maintain-x", base)
    register(lake, "b")
    with pytest.raises(Exception, match="conflicts with main"):
        lake.merge("maintain-x", "", {})
    assert known_stations(lake, "main") == {"a", "b"} == module._in_files(lake, "main", [raw_prefix(TOPIC)])


def test_two_attempts_at_new_stations(lake: LakeInFolders) -> None:
    register(lake, "a")
    wanted = planned(lake, TOPIC, 1, NOON)
    first, second = (candidate(lake, wanted, [registered("b")]) for _ in range(2))
    merge(lake, first)
    assert not merge(lake, second).merged_now
    stale = candidate(lake, planned(lake, TOPIC, 2, NOON), [registered("c"), registered("d")])
    register(lake, "d")
    with pytest.raises(ReplanError):
        merge(lake, stale)
    assert known_stations(lake, "main") == {"a", "b", "d"}

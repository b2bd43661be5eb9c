"""The file of the registry's stations and their zones: it says what the archive says, and is written only for what is new."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lake_in_folders import LakeInFolders, install
from small_publications import NOON, candidate, parquet, planned, publish, register, registered

from evcharge.contracts import STATION_REGISTRY
from evcharge.lake import known_stations as module
from evcharge.lake.archive import ReplanError
from evcharge.lake.known_stations import known_stations, note_stations, station_zones
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


def in_archive(lake: LakeInFolders) -> Mapping[str, str | None]:
    return module._in_files(lake, "main", [raw_prefix(TOPIC)])


def publish_zones(lake: LakeInFolders, *zones: tuple[str, str, int]) -> bool:
    """Registers stations: id, zone, minute of observation. Returns whether the file was written."""
    before = lake.head().id
    rows = [registered(name, NOON + timedelta(minutes=minute)) | {"time_zone": zone} for name, zone, minute in zones]
    publish(lake, rows, topic=TOPIC)
    return KNOWN_STATIONS_PATH in {path for _, path in lake.diff(before, lake.head().id)}


def test_no_file_of_the_archive_is_opened(lake: LakeInFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    assert known_stations(lake, "main") == frozenset()
    register(lake, "a", "b")
    register(lake, "c", "a")
    monkeypatch.setattr(module, "archive_dataset", lambda *_: pytest.fail("the archive is read"))
    assert known_stations(lake, "main") == {"a", "b", "c"}
    assert station_zones(lake, "main") == dict.fromkeys("abc", "Europe/Zurich")


def test_a_zone_is_that_of_the_newest_record(lake: LakeInFolders) -> None:
    assert publish_zones(lake, ("a", "Europe/Zurich", 5), ("b", "Europe/Paris", 9), ("b", "Europe/Rome", 8))
    assert station_zones(lake, "main") == {"a": "Europe/Zurich", "b": "Europe/Paris"}
    # observed before
    assert not publish_zones(lake, ("a", "Europe/Rome", 4))
    assert publish_zones(lake, ("a", "Europe/Berlin", 6))
    assert not publish_zones(lake, ("b", "Europe/Paris", 20))
    # newer than the record that made the zone known, older than one that repeated it
    assert not publish_zones(lake, ("b", "Europe/Rome", 12))
    assert station_zones(lake, "main") == {"a": "Europe/Berlin", "b": "Europe/Paris"} == in_archive(lake)


def test_records_in_any_order(lake: LakeInFolders) -> None:
    random = Random(5)
    for _ in range(25):
        rows = [
            (random.choice("abc"), random.choice(["Europe/Rome", "Europe/Bern"]), random.randrange(9)) for _ in "12"
        ]
        publish_zones(lake, *rows)
        assert station_zones(lake, "main") == in_archive(lake)


def test_a_file_of_an_earlier_version_has_no_zones(lake: LakeInFolders) -> None:
    publish_as_before(lake, "a")
    branch = "as-before"
    lake.create_branch(branch)
    lake.write(branch, KNOWN_STATIONS_PATH, parquet(pa.table({"station_id": ["a"]})))
    lake.commit(branch, "", {})
    lake.merge(branch, "", {})
    assert station_zones(lake, "main") == {"a": "Europe/Zurich"}
    assert publish_zones(lake, ("a", "Europe/Zurich", 1))
    assert pq.read_table(BytesIO(lake.read("main", KNOWN_STATIONS_PATH) or b"")).to_pylist() == [
        {"station_id": "a", "time_zone": "Europe/Zurich"}
    ]


def test_stations_that_are_known_do_not_change_it(lake: LakeInFolders) -> None:
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
    assert known_stations(lake, "main") == {"a", "b"} == in_archive(lake).keys()


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

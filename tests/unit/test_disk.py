"""Below the reserve of its disk, nothing is added to a store of the platform's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from evcharge.disk import NoRoomError, lack_of_room, require_room
from evcharge.settings import load_settings

MORE_THAN_ANY_DISK_MB = 10**12


def test_a_disk_with_room_lacks_none_and_a_home_need_not_exist(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "not" / "there", disk_reserve_mb=0)
    assert lack_of_room(settings) == ""
    require_room(settings, "kafka")


def test_without_room_the_disk_the_reserve_and_the_setting_are_named(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, disk_reserve_mb=MORE_THAN_ANY_DISK_MB)
    with pytest.raises(NoRoomError) as error:
        require_room(settings, "kafka")
    assert str(error.value) == lack_of_room(settings)
    for named in (str(tmp_path), "1000000000.0 GB", "EVCHARGE_DISK_RESERVE_MB"):
        assert named in str(error.value)


def test_a_store_elsewhere_has_a_disk_of_its_own(tmp_path: Path) -> None:
    settings = load_settings(
        home=tmp_path, disk_reserve_mb=MORE_THAN_ANY_DISK_MB, kafka_bootstrap_servers="kafka.example:9092"
    )
    require_room(settings, "kafka")
    with pytest.raises(NoRoomError):
        require_room(settings, "minio")

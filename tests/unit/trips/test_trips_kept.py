"""The compact forms that are kept in a folder."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evcharge.trips import gazetteer, roads
from evcharge.trips.kept import kept


def made_once(folder: Path | None, makes: list[int]) -> int:
    def make() -> int:
        makes.append(1)
        return 7

    return kept(folder, "scgraph", "number-1", make, lambda number: str(number).encode(), int)


def test_a_form_is_made_once_and_then_read(tmp_path: Path) -> None:
    makes: list[int] = []
    assert [made_once(tmp_path / "new", makes) for _ in range(3)] == [7, 7, 7]
    assert len(makes) == 1
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["scgraph-2.15.0-number-1"]
    assert made_once(None, makes) == 7
    assert len(makes) == 2


def test_a_broken_form_is_made_anew(tmp_path: Path) -> None:
    makes: list[int] = []
    made_once(tmp_path, makes)
    (tmp_path / "scgraph-2.15.0-number-1").write_bytes(b"cut off")
    assert made_once(tmp_path, makes) == 7
    assert made_once(tmp_path, makes) == 7
    assert len(makes) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_not_used(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert made_once(tmp_path / "below", []) == 7


def test_a_file_in_the_folders_place_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert made_once(tmp_path / "file", []) == 7


@pytest.mark.slow
@pytest.mark.parametrize("writable", [True, False])
def test_the_packages_are_read_by_another_process(tmp_path: Path, writable: bool) -> None:
    """What they hold would stay in the memory of one that runs for weeks, such as the dashboard, which may not write there."""
    folder = tmp_path / "trips"
    if not writable:
        folder.touch()
    load = (
        "import sys; from pathlib import Path; from evcharge.trips import gazetteer, roads; "
        "gazetteer.load(Path(sys.argv[1])); roads.load(Path(sys.argv[1])); "
        "print('zipcodes' in sys.modules, 'scgraph' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", load, str(folder)], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["False", "False"]
    assert not writable or len(list(folder.iterdir())) == 2


@pytest.mark.slow
def test_freeways_are_read_as_they_were_written() -> None:
    freeways = roads._freeways()
    read = roads._Freeways.of_bytes(freeways.to_bytes())
    assert np.array_equal(read.nodes, freeways.nodes)
    assert np.array_equal(read.data, freeways.data)
    for broken in (b"", b"PK", freeways.to_bytes()[:-100], pickle.dumps(1)):
        with pytest.raises(ValueError):  # noqa: PT011
            roads._Freeways.of_bytes(broken)


@pytest.mark.slow
def test_places_are_read_as_they_were_written(tmp_path: Path) -> None:
    names, zips = gazetteer._read(gazetteer.orjson.dumps(gazetteer._named_places()))
    again = gazetteer._Gazetteer(names, zips)
    for text in ("Seattle", "Springfield", "St. Louis MO"):
        assert again.find(text) == gazetteer.find(text)
    assert again.zip("90012") == gazetteer.find("90012").place

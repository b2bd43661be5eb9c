"""The archive of classes, with the real Java and a small program."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from evcharge.class_archive import archive_options

PROGRAM = """
public class Program {
    public static void main(String[] arguments) throws Exception {
        System.out.println("runs");
    }
}
"""


@pytest.fixture(scope="module")
def jar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    (folder / "Program.java").write_text(PROGRAM)
    subprocess.run(["javac", "Program.java"], cwd=folder, check=True, timeout=120)
    with zipfile.ZipFile(folder / "program.jar", "w") as file:
        file.write(folder / "Program.class", "Program.class")
    return folder / "program.jar"


def run(jar: Path, folder: Path) -> str:
    """The output of the program, which says where its class came from."""
    options = archive_options("program", [jar], folder).split()
    command = ["java", *options, "-Xlog:class+load=info", "-cp", str(jar), "Program"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def came_from_archive(output: str) -> bool:
    assert "runs" in output
    (line,) = [line for line in output.splitlines() if " Program source: " in line]
    return "shared objects file" in line


def test_the_first_start_writes_the_archive_and_the_next_one_uses_it(jar: Path, tmp_path: Path) -> None:
    assert not came_from_archive(run(jar, tmp_path))
    assert len(list(tmp_path.glob("program-*.jsa"))) == 1
    assert came_from_archive(run(jar, tmp_path))


def test_other_jars_get_another_archive(jar: Path, tmp_path: Path) -> None:
    changed = tmp_path / "program.jar"
    shutil.copy(jar, changed)
    run(changed, tmp_path)
    with zipfile.ZipFile(changed, "a") as file:
        file.writestr("more", "of it")
    assert not came_from_archive(run(changed, tmp_path))
    assert len(list(tmp_path.glob("program-*.jsa"))) == 1
    assert came_from_archive(run(changed, tmp_path))


def test_what_a_killed_start_left_is_written_again(jar: Path, tmp_path: Path) -> None:
    run(jar, tmp_path)
    (archive,) = tmp_path.glob("program-*.jsa")
    archive.chmod(0o600)
    archive.write_bytes(bytes(4096) + archive.read_bytes()[4096:])
    assert not came_from_archive(run(jar, tmp_path))
    assert came_from_archive(run(jar, tmp_path))


def test_a_folder_that_cannot_be_made_costs_the_archive_alone(jar: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert archive_options("program", [jar], tmp_path / "file" / "below") == ""

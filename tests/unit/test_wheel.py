"""The wheel works without the clone: it has every file that the code reads, and says in one line what only a clone can do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from evcharge.components import PAGES
from evcharge.settings import PROJECT

#: The packages of the wheel.
PACKAGES = ("dashboard", "evcharge", "evcharge_assets", "evcharge_sensors", "simulation")
#: What the dashboard's pages are built from. It is no package.
PAGES_SOURCE = "dashboard/web/"

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Built:
    """The distributions, and the files that they were built from as paths relative to the project."""

    files: list[str]
    sdist: Path
    wheel: Path

    @property
    def packaged(self) -> set[str]:
        packages = tuple(f"{package}/" for package in PACKAGES)
        return {name for name in self.files if name.startswith(packages) and not name.startswith(PAGES_SOURCE)}


@dataclass(frozen=True)
class Installed:
    """The wheel in an environment of its own, with an empty home and a working directory outside the clone."""

    python: Path
    folder: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder / "home"), "COLUMNS": "400"}
        return subprocess.run(
            [self.python, *arguments],
            cwd=self.folder / "elsewhere",
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def evcharge(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the command by the entry point that the wheel declares."""
        entry = "from importlib.metadata import entry_points as e; e(group='console_scripts')['evcharge'].load()()"
        return self.run("-c", entry, *arguments)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Built from a copy of what git has or would take, so that the clone stays clean. The wheel is built from the sdist.

    The dashboard's pages are in no commit: `make test` has built them before.
    """
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    listed = ["git", "-C", str(PROJECT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")
    assert PAGES.target.is_dir(), "the pages are not built: run `evcharge stack provision --only dashboard`"
    pages = {path.relative_to(PROJECT).as_posix() for path in PAGES.target.rglob("*") if path.is_file()}
    files = sorted({name for name in names if name and (PROJECT / name).exists()} | pages)
    for name in files:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, source / name, follow_symlinks=False)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return Built(files, sdist, wheel)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    for name in ("home", "elsewhere"):
        (folder / name).mkdir()
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    show_folder = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(show_folder, capture_output=True, text=True, check=True).stdout.strip())
    with zipfile.ZipFile(built.wheel) as wheel:
        wheel.extractall(packages)
    # The dependencies are those of this environment. Its own .pth files are not read, so the editable clone stays out.
    dependencies = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    dependencies |= {path for path in sys.path if path.endswith("site-packages")}
    (packages / "dependencies.pth").write_text("\n".join(sorted(dependencies)) + "\n")
    return Installed(python, folder)


def test_the_wheel_has_every_file_of_the_packages(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == built.packaged


def test_the_wheel_has_the_dashboards_pages(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        kinds = {Path(name).suffix for name in wheel.namelist() if name.startswith("dashboard/")}
    assert {".html", ".js", ".css", ".py"} <= kinds


def test_the_source_distribution_has_every_file_of_the_clone(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        found = {name.partition("/")[2] for name in sdist.getnames()}
    left_out = {name for name in set(built.files) - found if not name.startswith(".")}
    assert not left_out
    assert "evcharge/stack.toml" in found


def test_nothing_of_the_clone_is_importable(installed: Installed) -> None:
    code = f"import importlib; print([importlib.import_module(name).__file__ for name in {PACKAGES}])"
    done = installed.run("-c", code)
    assert done.returncode == 0, done.stderr
    assert str(PROJECT) not in done.stdout
    assert done.stdout.count(str(installed.folder)) == len(PACKAGES)


def test_the_command_explains_itself(installed: Installed) -> None:
    done = installed.evcharge("--help")
    assert done.returncode == 0, done.stderr
    assert "simulate" in done.stdout


def test_it_simulates_and_writes_the_report(installed: Installed) -> None:
    done = installed.evcharge("simulate", "--stations", "5", "--days", "0.2", "--report", "x.html")
    assert done.returncode == 0, done.stderr
    page = installed.folder / "elsewhere" / "x.html"
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_it_has_the_shipped_profiles(installed: Installed) -> None:
    done = installed.evcharge("simulate", "--profile", "campus", "--days", "1", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stations"] == 1


def test_the_platform_has_its_home_in_the_users_data_folder(installed: Installed) -> None:
    done = installed.evcharge("settings")
    assert done.returncode == 0, done.stderr
    assert f" {installed.folder}/home/.local/share/evcharge " in done.stdout


def test_the_dictionary_is_printed(installed: Installed) -> None:
    done = installed.evcharge("dictionary")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (PROJECT / "docs" / "data-dictionary.md").read_text()


def test_the_asset_graph_loads(installed: Installed) -> None:
    done = installed.run(
        "-c", "from evcharge_assets.definitions import defs; print(len(defs.resolve_all_asset_keys()))"
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def test_the_files_that_the_stores_are_made_of_are_there(installed: Installed) -> None:
    code = """
from evcharge.live import cassandra_schema, indices
from evcharge.reference.bundled import bundled_stations
assert all(indices.definition(alias) for alias in indices.ALIASES)
assert cassandra_schema.statements("x")
print(len(bundled_stations()))
"""
    done = installed.run("-c", code)
    assert done.returncode == 0, done.stderr
    assert "640" in done.stdout


@pytest.mark.parametrize(
    "arguments", [("up",), ("stack", "up"), ("stack", "preflight"), ("dictionary", "--check")], ids=" ".join
)
def test_what_only_a_clone_can_do_says_so_in_one_line(installed: Installed, arguments: tuple[str, ...]) -> None:
    done = installed.evcharge(*arguments)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "needs a clone of the project" in line
    assert not (installed.folder / "home" / ".local").exists()

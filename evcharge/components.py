"""The servers' programs in the user's cache: which version, from where, in which folder. `evcharge.stack` fetches them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from evcharge.settings import IS_CLONE, PROJECT, stack_file

#: The servers' configuration; only a clone has it.
NATIVE = PROJECT / "deploy" / "native"


@dataclass(frozen=True)
class Maven:
    """The runtime dependencies of `deploy/native/<component>/pom.xml`: their jars, or if `unpack` what they contain."""

    unpack: bool = False


@dataclass(frozen=True)
class Go:
    """A package that is built from source. The component's go.mod, one of its build files, has its version."""

    package: str


@dataclass(frozen=True)
class Npm:
    """A package of npm's registry."""

    package: str


@dataclass(frozen=True)
class Build:
    """npm's script `build` of a folder of the clone, which writes another folder of the clone."""

    source: Path


@dataclass(frozen=True)
class Component:
    """Something to download or build. `result` is the file or folder that the server uses, inside the cache folder."""

    name: str
    version: str
    result: str
    build_files: tuple[str, ...] = ()
    source: Maven | Go | Npm | Build = Maven()

    def folder(self, cache: Path) -> Path:
        """The cache folder. Its name has the version and a hash of the build files, if there are any.

        Outside a clone there are no build files. The folder is then one that nothing was ever built into.
        """
        files = self.build_files if IS_CLONE else ()
        digest = hashlib.sha256(b"".join((NATIVE / name).read_bytes() for name in files)).hexdigest()[:10]
        return cache / self.name / (f"{self.version}-{digest}" if self.build_files else self.version)

    def path(self, cache: Path) -> Path:
        """Where `result` is once the component is provisioned."""
        return self.folder(cache) / self.result

    def is_cached(self, cache: Path) -> bool:
        return self.path(cache).exists()


@dataclass(frozen=True)
class Pages(Component):
    """Pages that are built in the clone, and anew where a file of their source changed. A package brings them along."""

    target: Path = PROJECT

    @property
    def folder_of_source(self) -> Path:
        assert isinstance(self.source, Build)
        return self.source.source

    def folder(self, cache: Path) -> Path:
        return self.target

    def path(self, cache: Path) -> Path:
        return self.target

    def is_cached(self, cache: Path) -> bool:
        """Whether the pages are built from the source as it is now."""
        if not IS_CLONE or not self.folder_of_source.is_dir():
            return True
        stamp = self.stamp
        return self.target.is_dir() and stamp.exists() and stamp.read_text() == self.digest()

    @property
    def stamp(self) -> Path:
        """The file that says from which source the pages are. It goes with npm's packages."""
        return self.folder_of_source / "node_modules" / ".built-from"

    def digest(self) -> str:
        """A hash over the names and contents of the source's files, without npm's packages."""
        source, found = self.folder_of_source, hashlib.sha256()
        for path in sorted(source.rglob("*")):
            name = path.relative_to(source)
            if not {"node_modules", "__pycache__"} & set(name.parts) and path.is_file():
                found.update(f"{name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
        return found.hexdigest()


def pinned_version(name: str) -> str:
    """The version in stack.toml; KeyError if there is none."""
    return str(stack_file()["versions"][name])


#: The jars that PySpark's own do not include. Here, because the live stream's driver needs them as well.
SPARK = Component("spark", pinned_version("spark"), "jars", ("spark/pom.xml",))

#: The dashboard's pages, which the wheel brings along.
PAGES = Pages(
    "pages",
    "source",
    "static",
    source=Build(PROJECT / "dashboard" / "web"),
    target=PROJECT / "dashboard" / "static",
)

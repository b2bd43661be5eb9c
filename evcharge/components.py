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
    """A program built from source: from its own module, or from the component's go.mod if that is a build file."""

    package: str


@dataclass(frozen=True)
class Npm:
    """A package of npm's registry."""

    package: str


@dataclass(frozen=True)
class Component:
    """Something to download or build. `result` is the file or folder that the server uses, inside the cache folder."""

    name: str
    version: str
    result: str
    build_files: tuple[str, ...] = ()
    source: Maven | Go | Npm = Maven()

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


def pinned_version(name: str) -> str:
    """The version in stack.toml; KeyError if there is none."""
    return str(stack_file()["versions"][name])


#: The jars that PySpark's own do not include. Here, because the live stream's driver needs them as well.
SPARK = Component("spark", pinned_version("spark"), "jars", ("spark/pom.xml",))

"""The servers' programs in the user's cache: where each is, and which version. `evcharge.stack` brings them there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from evcharge.settings import PROJECT, stack_file

#: The servers' configuration; only a clone has it.
NATIVE = PROJECT / "deploy" / "native"


@dataclass(frozen=True)
class Component:
    """Something to download or build. `result` is the file (or folder) that services use, inside the cache folder."""

    name: str
    version: str
    result: str
    build_files: tuple[str, ...] = ()
    service: str = ""

    def folder(self, cache: Path) -> Path:
        """The cache folder: keyed by version and, where there are build files, by their content."""
        digest = hashlib.sha256(b"".join((NATIVE / name).read_bytes() for name in self.build_files)).hexdigest()[:10]
        return cache / self.name / (f"{self.version}-{digest}" if self.build_files else self.version)

    def path(self, cache: Path) -> Path:
        """Where the component's `result` is once provisioned."""
        return self.folder(cache) / self.result

    def is_cached(self, cache: Path) -> bool:
        return self.path(cache).exists()


def components() -> dict[str, Component]:
    """Every component by the name of the service that needs it."""
    versions = stack_file()["versions"]
    every = (
        Component("kafka", versions["kafka"], "jars", ("kafka/pom.xml",), "kafka"),
        Component("minio", versions["minio"], "minio", (), "minio"),
        Component("lakefs", versions["lakefs"], "lakefs", ("lakefs/go.mod", "lakefs/go.sum"), "lakefs"),
        Component(
            "clickhouse",
            versions["clickhouse"],
            "node_modules/@chdb/lib-linux-x64-gnu/libchdb.so",
            (),
            "clickhouse",
        ),
        Component("spark", versions["spark"], "jars", ("spark/pom.xml",), "spark-connect"),
        Component(
            "elasticsearch",
            versions["elasticsearch"],
            f"elasticsearch-{versions['elasticsearch']}",
            ("elasticsearch/pom.xml",),
            "elasticsearch",
        ),
        Component("cassandra", versions["cassandra"], "jars", ("cassandra/pom.xml",), "cassandra"),
    )
    return {component.service: component for component in every}

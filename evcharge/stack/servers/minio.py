"""MinIO, the object store below the lake; it also keeps the compute logs of Dagster's runs."""

from __future__ import annotations

from typing import ClassVar

from evcharge.components import Component, Go, pinned_version
from evcharge.connections import minio_client
from evcharge.stack.servers.base import Server, password
from evcharge.stack.servers.probing import http_get


class Minio(Server):
    name = "minio"
    version = pinned_version("minio")
    unprivileged = True
    ports = ("minio", "minio_console")
    secrets: ClassVar = {"minio_secret_key": password}
    component = Component("minio", version, "minio", ("minio/go.mod", "minio/go.sum"), Go("github.com/minio/minio"))

    @property
    def address(self) -> str:
        return self.settings.minio_endpoint

    @property
    def command(self) -> tuple[str, ...]:
        return (
            *(str(self.program), "server", str(self.folder / "data")),
            *("--address", f"127.0.0.1:{self.settings.port('minio')}"),
            *("--console-address", f"127.0.0.1:{self.settings.port('minio_console')}"),
        )

    @property
    def environment(self) -> dict[str, str]:
        return {
            "MINIO_ROOT_USER": self.settings.minio_access_key,
            "MINIO_ROOT_PASSWORD": self.settings.minio_secret_key.get_secret_value(),
            "MINIO_UPDATE": "off",
            "HOME": str(self.folder),
        }

    def prepare(self) -> None:
        (self.folder / "data").mkdir(parents=True, exist_ok=True)

    def probe(self) -> None:
        """Asks MinIO if it is ready, then lists the buckets with the platform's key."""
        http_get(f"{self.settings.minio_endpoint}/minio/health/ready")
        minio_client(self.settings).list_buckets()

    def bootstrap(self) -> None:
        """Creates the lake's bucket and the compute logs' bucket."""
        client = minio_client(self.settings)
        present = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        for bucket in (self.settings.lake_bucket, self.settings.compute_log_bucket):
            if bucket not in present:
                client.create_bucket(Bucket=bucket)

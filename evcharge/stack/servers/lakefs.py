"""lakeFS, which gives the lake on MinIO its branches and commits."""

from __future__ import annotations

import secrets
import string
from typing import ClassVar

from evcharge.components import Component, Go, pinned_version
from evcharge.connections import REQUEST_TIMEOUT_S, lakefs_client
from evcharge.stack.files import write_from_template
from evcharge.stack.servers.base import Server, derived_key, password
from evcharge.stack.servers.probing import http_get

#: The letters of base32 (RFC 4648), which AWS's key ids have as well.
_KEY_ALPHABET = string.ascii_uppercase + "234567"


def access_key() -> str:
    """A new key id in the form of AWS's, which every S3 client accepts."""
    return "AKIA" + "".join(secrets.choice(_KEY_ALPHABET) for _ in range(16))


class LakeFS(Server):
    name = "lakefs"
    version = pinned_version("lakefs")
    unprivileged = True
    ports = ("lakefs",)
    secrets: ClassVar = {"lakefs_access_key": access_key, "lakefs_secret_key": password}
    component = Component(
        "lakefs",
        version,
        "lakefs",
        ("lakefs/go.mod", "lakefs/go.sum"),
        Go("github.com/treeverse/lakefs/cmd/lakefs"),
    )
    configuration = ("lakefs.yaml",)
    after = ("minio",)

    @property
    def address(self) -> str:
        return self.settings.lakefs_endpoint

    @property
    def command(self) -> tuple[str, ...]:
        return (str(self.program), "--config", str(self.folder / "lakefs.yaml"), "run")

    @property
    def environment(self) -> dict[str, str]:
        secret_key = self.settings.lakefs_secret_key.get_secret_value()
        return {
            "LAKEFS_INSTALLATION_USER_NAME": "evcharge",
            "LAKEFS_INSTALLATION_ACCESS_KEY_ID": self.settings.lakefs_access_key,
            "LAKEFS_INSTALLATION_SECRET_ACCESS_KEY": secret_key,
            "LAKEFS_AUTH_ENCRYPT_SECRET_KEY": derived_key(secret_key, "lakefs-encryption"),
            "LAKEFS_BLOCKSTORE_SIGNING_SECRET_KEY": derived_key(secret_key, "lakefs-signing"),
            "LAKEFS_BLOCKSTORE_S3_CREDENTIALS_ACCESS_KEY_ID": self.settings.minio_access_key,
            "LAKEFS_BLOCKSTORE_S3_CREDENTIALS_SECRET_ACCESS_KEY": self.settings.minio_secret_key.get_secret_value(),
        }

    def prepare(self) -> None:
        write_from_template(
            "lakefs/lakefs.yaml",
            self.folder / "lakefs.yaml",
            port=self.settings.port("lakefs"),
            data=self.folder / "data",
            minio_endpoint=self.settings.minio_endpoint,
        )

    def probe(self) -> None:
        """Asks lakeFS if it is healthy, then lists the repositories with the platform's key."""
        settings = self.settings
        http_get(f"{settings.lakefs_endpoint}/_health")
        http_get(
            f"{settings.lakefs_endpoint}/api/v1/repositories?amount=1",
            login=(settings.lakefs_access_key, settings.lakefs_secret_key.get_secret_value()),
        )

    def bootstrap(self) -> None:
        """Creates the lake's repository with its branch `main`."""
        import lakefs_sdk

        settings = self.settings
        repositories = lakefs_sdk.RepositoriesApi(lakefs_client(settings))
        try:
            repositories.get_repository(settings.lake_repository, _request_timeout=REQUEST_TIMEOUT_S)
        except lakefs_sdk.exceptions.NotFoundException:
            repositories.create_repository(
                lakefs_sdk.RepositoryCreation(
                    name=settings.lake_repository,
                    storage_namespace=f"s3://{settings.lake_bucket}",
                    default_branch="main",
                ),
                _request_timeout=REQUEST_TIMEOUT_S,
            )

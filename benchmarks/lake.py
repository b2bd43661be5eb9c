"""Lake repositories for benchmarks."""

from __future__ import annotations

import lakefs_sdk

from evcharge.connections import lakefs_client
from evcharge.lake.candidate import RunIdentity
from evcharge.settings import Settings

RUN = RunIdentity("benchmark", "benchmark", "benchmark")


def fresh(settings: Settings, name: str) -> Settings:
    """The settings with an empty lake repository of that name."""
    creation = lakefs_sdk.RepositoryCreation(name=name, storage_namespace=f"s3://{settings.lake_bucket}/{name}")
    lakefs_sdk.RepositoriesApi(lakefs_client(settings)).create_repository(creation)
    return settings.model_copy(update={"lake_repository": name})

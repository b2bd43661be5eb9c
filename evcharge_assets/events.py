"""What an op says of assets that it makes although they are not its own outputs, as the stream and the publishing run do."""

from __future__ import annotations

from collections import deque
from typing import Any

import dagster as dg


def materialized(
    context: dg.OpExecutionContext, key: dg.AssetKey, metadata: dict[str, Any], partition: str | None = None
) -> None:
    log_event(context, dg.AssetMaterialization(asset_key=key, partition=partition, metadata=metadata))


def evaluated(
    context: dg.OpExecutionContext, key: dg.AssetKey, name: str, result: dg.AssetCheckResult, *, blocking: bool = False
) -> None:
    """Logs the result of a check. Dagster's pages hide results from before the asset's materialization."""
    evaluation = dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=name,
        passed=result.passed,
        metadata=result.metadata,
        target_materialization_data=None,
        severity=result.severity,
        description=result.description,
        blocking=blocking,
        partition=None,
    )
    log_event(context, evaluation)


def log_event(context: dg.OpExecutionContext, event: Any) -> None:
    context.log_event(event)
    # It is written. Dagster also keeps it for the op's end, which does not come for the stream.
    deque(context.consume_events(), maxlen=0)

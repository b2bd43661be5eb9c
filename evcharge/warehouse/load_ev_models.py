"""Loads the EV models of the reference data in MongoDB."""

from __future__ import annotations

from evcharge.connections import clickhouse, clickhouse_errors
from evcharge.log import log
from evcharge.reference.mongodb import ev_models
from evcharge.settings import Settings
from evcharge.warehouse.staging import replace_all
from evcharge.warehouse.tables import EV_MODELS


def load_ev_models(settings: Settings, run_id: str) -> int:
    """Replaces `dim_ev_model` by the EV models of the reference data. Returns how many there are.

    Raises ServerDownError, and UserError where the platform has no reference data.
    """
    models = ev_models(settings)
    with clickhouse_errors(settings):
        client = clickhouse(settings)
        columns = [name for (name, *_) in client.execute(f"DESCRIBE TABLE {EV_MODELS}")]
        replace_all(client, EV_MODELS, [{name: model[name] for name in columns} for model in models], run_id)
    log.info("EV models loaded", run_id=run_id, rows=len(models))
    return len(models)

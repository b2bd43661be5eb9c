"""Keeps `dim_vehicle` what the facts say: each vehicle's first day and newest model, whatever order days are loaded in."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from evcharge.warehouse.staging import Staging, mutate
from evcharge.warehouse.tables import FACT, VEHICLES

if TYPE_CHECKING:
    from clickhouse_driver import Client

#: The vehicles whose row may change. A load usually brings known vehicles of known models on later days: they need nothing.
_CHANGED = f"""
SELECT vehicle_id FROM {FACT}
WHERE toDate(ended_at, 'UTC') IN %(days)s AND (vehicle_id, ev_model_id, toDate(ended_at, 'UTC')) NOT IN (
    SELECT vehicle_id, ev_model_id, toDate(ended_at, 'UTC') FROM {{days}})
UNION DISTINCT
SELECT n.vehicle_id FROM {{days}} AS n LEFT JOIN (SELECT *, true AS is_known FROM {VEHICLES} FINAL) AS v
ON v.vehicle_id = n.vehicle_id
WHERE NOT v.is_known OR toDate(n.ended_at, 'UTC') < v.first_seen_date
    OR (n.vehicle_id <> '' AND n.ev_model_id NOT IN ('', v.ev_model_id))
"""

#: What the facts will say of these vehicles once the days are replaced. The empty id stands for many cars, of no one model.
_ROWS = f"""
SELECT
    vehicle_id,
    if(vehicle_id = '', '', argMaxIf(ev_model_id, (ended_at, station_id, session_id), ev_model_id <> '')),
    min(toDate(ended_at, 'UTC'))
FROM (
    SELECT vehicle_id, ev_model_id, ended_at, station_id, session_id FROM {FACT}
    WHERE toDate(ended_at, 'UTC') NOT IN %(days)s AND vehicle_id IN (SELECT vehicle_id FROM {{changed}})
    UNION ALL
    SELECT vehicle_id, ev_model_id, ended_at, station_id, session_id FROM {{days}}
    WHERE vehicle_id IN (SELECT vehicle_id FROM {{changed}})
) GROUP BY vehicle_id
"""


def update_vehicles(client: Client, staging: Staging, days: list[date]) -> int:
    """Corrects the vehicles of `days`, whose rows are in the staging table `days`. Returns how many are new.

    It comes before the days are replaced: a load that is killed then finds the same changes again.
    """
    changed = staging.named("vehicles")
    parameters = {"days": days}
    client.execute(
        f"CREATE TABLE {changed} ENGINE = MergeTree ORDER BY vehicle_id AS {_CHANGED.format(days=staging.days)}",
        parameters,
    )
    if not client.execute(f"SELECT count() FROM {changed}")[0][0]:
        return 0
    new: int = client.execute(
        f"SELECT count() FROM {changed} WHERE vehicle_id NOT IN (SELECT vehicle_id FROM {VEHICLES}) "
        f"AND vehicle_id IN (SELECT vehicle_id FROM {staging.days})"
    )[0][0]
    client.execute(f"INSERT INTO {VEHICLES} {_ROWS.format(days=staging.days, changed=changed)}", parameters)
    gone = [
        vehicle_id
        for (vehicle_id,) in client.execute(
            f"SELECT vehicle_id FROM {changed} WHERE vehicle_id NOT IN (SELECT vehicle_id FROM {staging.days}) "
            f"AND vehicle_id NOT IN (SELECT vehicle_id FROM {FACT} WHERE toDate(ended_at, 'UTC') NOT IN %(days)s "
            f"AND vehicle_id IN (SELECT vehicle_id FROM {changed}))",
            parameters,
        )
    ]
    mutate(client, VEHICLES, "DELETE WHERE vehicle_id IN %(values)s", gone)
    return new

"""Keeps `dim_vehicle` what the facts say: each vehicle's first day and newest model, whatever order days are loaded in."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from evcharge.warehouse.staging import Staging, mutate
from evcharge.warehouse.tables import FACT, VEHICLES

if TYPE_CHECKING:
    from clickhouse_driver import Client

#: The vehicles whose row may change. A load usually brings known vehicles of known models on later days: they need nothing.
#: `touched` is a condition for the vehicles to look at.
_CHANGED = f"""
SELECT vehicle_id FROM {FACT}
WHERE toDate(ended_at, 'UTC') IN %(days)s AND {{touched}}
AND (vehicle_id, ev_model_id, toDate(ended_at, 'UTC')) NOT IN (
    SELECT vehicle_id, ev_model_id, toDate(ended_at, 'UTC') FROM {{days}} WHERE {{touched}})
UNION DISTINCT
SELECT n.vehicle_id FROM (SELECT * FROM {{days}} WHERE {{touched}}) AS n
LEFT JOIN (SELECT *, true AS is_known FROM {VEHICLES} FINAL WHERE {{touched}}) AS v ON v.vehicle_id = n.vehicle_id
WHERE NOT v.is_known OR toDate(n.ended_at, 'UTC') < v.first_seen_date
    OR (n.vehicle_id <> '' AND n.ev_model_id NOT IN ('', v.ev_model_id))
"""

#: The vehicles of the facts that come and go where days keep their other facts. Placeholders: rows, leaving.
_TOUCHED = f"""
SELECT vehicle_id FROM {{rows}}
UNION DISTINCT
SELECT vehicle_id FROM {FACT} WHERE toDate(ended_at, 'UTC') IN (SELECT day FROM {{leaving}})
AND (toDate(ended_at, 'UTC'), station_id, session_id) IN (SELECT * FROM {{leaving}})
"""

#: What the facts will say of these vehicles once the days are replaced. The empty id stands for many cars, of no one model.
_ROWS = """
SELECT
    vehicle_id,
    if(vehicle_id = '', '', argMaxIf(ev_model_id, (ended_at, station_id, session_id), ev_model_id <> '')),
    min(toDate(ended_at, 'UTC'))
FROM (
    {other_days}
    SELECT vehicle_id, ev_model_id, ended_at, station_id, session_id FROM {days}
    WHERE vehicle_id IN (SELECT vehicle_id FROM {changed})
) GROUP BY vehicle_id
"""

#: Their facts on other days. It reads the whole table, and a vehicle that is new has none.
_OTHER_DAYS = f"""
SELECT vehicle_id, ev_model_id, ended_at, station_id, session_id FROM {FACT}
WHERE toDate(ended_at, 'UTC') NOT IN %(days)s AND vehicle_id IN (SELECT vehicle_id FROM {{changed}})
UNION ALL
"""


def update_vehicles(client: Client, staging: Staging, days: list[date], leaving: str | None) -> int:
    """Corrects the vehicles of `days`, whose rows are in the staging table `days`. Returns how many are new.

    Where only the staging table `rows` comes to the days and only what the table `leaving` has goes, the cost is that of these.
    It comes before the days are replaced: a load that is killed then finds the same changes again.
    """
    changed = staging.named("vehicles")
    parameters = {"days": days}
    touched = "true"
    if leaving is not None:
        few = staging.named("touched")
        query = _TOUCHED.format(rows=staging.rows, leaving=leaving)
        client.execute(f"CREATE TABLE {few} ENGINE = MergeTree ORDER BY vehicle_id AS {query}")
        touched = f"vehicle_id IN (SELECT vehicle_id FROM {few})"
    query = _CHANGED.format(days=staging.days, touched=touched)
    client.execute(f"CREATE TABLE {changed} ENGINE = MergeTree ORDER BY vehicle_id AS {query}", parameters)
    all_changed, known = client.execute(
        f"SELECT count(), countIf(vehicle_id IN (SELECT vehicle_id FROM {VEHICLES})) FROM {changed}"
    )[0]
    if not all_changed:
        return 0
    other_days = _OTHER_DAYS.format(changed=changed) if known else ""
    rows = _ROWS.format(other_days=other_days, days=staging.days, changed=changed)
    client.execute(f"INSERT INTO {VEHICLES} {rows}", parameters)
    if not known:
        return int(all_changed)
    gone = [
        vehicle_id
        for (vehicle_id,) in client.execute(
            f"SELECT vehicle_id FROM {changed} WHERE vehicle_id NOT IN ("
            f"SELECT vehicle_id FROM {staging.days} WHERE vehicle_id IN (SELECT vehicle_id FROM {changed})) "
            f"AND vehicle_id NOT IN (SELECT vehicle_id FROM {FACT} WHERE toDate(ended_at, 'UTC') NOT IN %(days)s "
            f"AND vehicle_id IN (SELECT vehicle_id FROM {changed}))",
            parameters,
        )
    ]
    mutate(client, VEHICLES, "DELETE WHERE vehicle_id IN %(values)s", gone)
    return int(all_changed - known)

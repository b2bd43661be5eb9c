"""The SQL behind the operator's page, over the warehouse's facts. Marts that hold the same columns will replace it.

A month is a UTC month of `ended_at`, so its days are whole partitions. Stations and ports are grouped by hashes of their ids:
a number is grouped and sent in a third of the time of a text.
"""

from __future__ import annotations

#: Reasons for an end that name a fault (OCPP 2.0.1 ReasonEnumType).
FAULTS = ("GroundFault", "PowerLoss")
#: The fault that is the utility's and not the charging port's.
UTILITY_FAULT = "PowerLoss"
#: A session that a fault ends within this long has failed to start.
FAILED_WITHIN_S = 300

_FAULTS = ", ".join(f"'{reason}'" for reason in FAULTS)
#: A failed start: a session without any energy, or one that a fault ended within `FAILED_WITHIN_S`.
FAILED = f"(f.energy_delivered_kwh = 0 OR (f.end_reason IN ({_FAULTS}) AND f.duration_s < {FAILED_WITHIN_S}))"

#: What is summed, by name. `unfit_energy` breaks the rule ENERGY_FITS_POWER of the loaded days.
SUMS = {
    "sessions": "count()",
    "energy_kwh": "sum(toFloat64(f.energy_delivered_kwh))",
    "occupied_s": "sum(f.duration_s)",
    "idle_s": "sum(ifNull(f.idle_s, 0))",
    "failed_starts": f"countIf({FAILED})",
    "faults": f"countIf(f.end_reason IN ({_FAULTS}))",
    "waits": "countIf(f.queue_wait_s > 0)",
    "wait_s": "sum(ifNull(f.queue_wait_s, 0))",
    "unfit_energy": "countIf(s.max_power_kw > 0 AND f.duration_s > 0 AND toFloat64(f.energy_delivered_kwh) > "
    "s.max_power_kw * f.duration_s / 3600 * 1.05 + 0.1)",
    "falling_soc": "countIf(f.soc_end_percent < f.soc_start_percent - 1)",
    "long_idle": "countIf(f.idle_s > f.duration_s + 1)",
}

_RANGE = "f.ended_at >= %(since)s AND f.ended_at < %(to)s"

#: When each month's facts, and the stations (month 1970-01-01), were last loaded.
VERSIONS = """
SELECT toString(table_name) AS table_name, toStartOfMonth(date) AS month, toUnixTimestamp64Milli(max(loaded_at)) AS loaded_ms
FROM loaded_day WHERE table_name IN ('fact_charging_sessions', 'dim_station') GROUP BY table_name, month"""

#: Every station of the registry, those that are gone too.
STATIONS = """
SELECT cityHash64(station_id) AS station, station_id, station_name, toString(city), toString(state), toString(network),
    toString(status_code), toUInt8(removed_at IS NOT NULL) AS removed, toUInt32(total_outlets) AS outlets,
    ifNull(max_power_kw, 0) AS power_kw
FROM dim_station ORDER BY station"""

#: The ids of stations that only sessions name.
UNKNOWN_STATIONS = """
SELECT DISTINCT cityHash64(station_id) AS station, station_id FROM fact_charging_sessions
WHERE station_id NOT IN (SELECT station_id FROM dim_station) LIMIT 10000"""

#: A month's sums by station and local hour of the start.
MONTH = f"""
SELECT cityHash64(f.station_id) AS station, f.local_hour AS hour,
    min(toUnixTimestamp(f.ended_at)) AS first_at, max(toUnixTimestamp(f.ended_at)) AS last_at,
    {", ".join(f"{sql} AS {name}" for name, sql in SUMS.items())}
FROM fact_charging_sessions AS f
ANY LEFT JOIN (SELECT cityHash64(station_id) AS station, max_power_kw FROM dim_station) AS s
    ON s.station = cityHash64(f.station_id)
WHERE {_RANGE}
GROUP BY station, hour"""

#: A month's ports that a fault took out. An outage lasts until the next session at the port; one without such a session in the
#: month has its start (seconds since the epoch) in `open_since`, else that is 0. Minutes are those of the others.
PORTS = f"""
WITH arrayMap(ended -> arrayMin(at -> at >= ended ? at : 4294967295, starts), ends) AS untils
SELECT port, station, evse_id, toUInt32(length(ends)) AS outages, toUInt32(countEqual(utility, 1)) AS utility_outages,
    arraySum((ended, until) -> until = 4294967295 ? 0 : until - ended, ends, untils) / 60 AS outage_min,
    arraySum((ended, until, is_utility) -> until = 4294967295 OR NOT is_utility ? 0 : until - ended, ends, untils, utility)
        / 60 AS excluded_min,
    arrayMax(ends) AS last_at,
    arrayMax((ended, until) -> until = 4294967295 ? ended : 0, ends, untils) AS open_since,
    toUInt8(arrayMax((until, is_utility) -> until = 4294967295 AND is_utility, untils, utility)) AS open_is_utility
FROM (
    SELECT cityHash64(f.station_id, f.evse_id) AS port, any(cityHash64(f.station_id)) AS station, any(f.evse_id) AS evse_id,
        groupArray(toUInt32(toUnixTimestamp(f.started_at))) AS starts,
        groupArrayIf(toUInt32(toUnixTimestamp(f.ended_at)), f.end_reason IN ({_FAULTS})) AS ends,
        groupArrayIf(toUInt8(f.end_reason = '{UTILITY_FAULT}'), f.end_reason IN ({_FAULTS})) AS utility
    FROM fact_charging_sessions AS f
    WHERE {_RANGE}
    GROUP BY port HAVING notEmpty(ends)
)"""

#: The first session of a month at each of %(ports)s.
FIRST_STARTS = f"""
SELECT cityHash64(f.station_id, f.evse_id) AS port, toUnixTimestamp(min(f.started_at)) AS started
FROM fact_charging_sessions AS f WHERE {_RANGE} AND port IN %(ports)s GROUP BY port"""

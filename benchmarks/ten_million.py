"""A warehouse of ten million sessions of a year, written by ClickHouse itself: about a minute, 0.5 GB.

The figures are made up and plausible: 10,000 stations of 12 networks with four EVSEs each, two to three sessions at each of
them a day, one EVSE never occupied twice. A twentieth gets no energy, one in a hundred ends with a fault.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from evcharge.connections import clickhouse
from evcharge.settings import Settings

if TYPE_CHECKING:
    from clickhouse_driver import Client

SESSIONS, STATIONS, DAYS = 10_000_000, 10_000, 365
EVSES, NETWORKS = 4, 12
#: Rows of one statement: their days are in memory at once.
_ROWS_AT_ONCE = 1_000_000

_STATIONS = """
INSERT INTO dim_station
WITH cityHash64(number) AS h
SELECT
    format('many-{0}', leftPad(toString(number), 6, '0')),
    format('Station {0}', toString(number)),
    format('City {0}', toString(h %% 900)),
    arrayElement(['CA', 'TX', 'FL', 'NY', 'WA', 'CO', 'GA', 'OH', 'IL', 'MA'], 1 + intDiv(h, 7) %% 10),
    '', 'US', 'America/Chicago',
    -120 + (intDiv(h, 100) %% 4000) / 100, 30 + (intDiv(h, 10000) %% 1500) / 100,
    multiIf(h %% 97 = 0, 'T', h %% 89 = 0, 'P', 'E'),
    ['J1772COMBO'], %(evses)s, arrayElement([7.2, 19.2, 50, 150, 350], 1 + intDiv(h, 11) %% 5),
    format('Network {0}', toString(toUInt32(pow(intDiv(h, 13) %% 1000 / 1000, 2) * %(networks)s) + 1)),
    'synthetic', %(to)s, NULL
FROM numbers(%(stations)s)
"""

# Session after session is at the next station, and the next one there at its next EVSE.
_SESSIONS = """
INSERT INTO fact_charging_sessions
WITH
    cityHash64(number) AS h,
    intDiv(number * %(days)s, %(sessions)s) AS day,
    number %% %(stations)s AS place, intDiv(number, %(stations)s) AS turn,
    format('many-{0}', leftPad(toString(place), 6, '0')) AS station,
    1 + turn %% %(evses)s AS evse,
    arrayElement([7.2, 19.2, 50, 150, 350], 1 + intDiv(cityHash64(place), 11) %% 5) AS power_kw,
    intDiv(h, 1000) %% 100 < 5 AS failed,
    intDiv(h, 100000) %% 1000 AS cause,
    multiIf(failed, 60, power_kw > 20, 900 + intDiv(h, 17) %% 3600, 3600 + intDiv(h, 17) %% 21600) AS stay_s,
    toDateTime64(toDate(%(to)s), 3, 'UTC') - toIntervalDay(%(days)s - day)
        + toIntervalSecond(21600 + intDiv(h, 31) %% 40000) AS begun_at,
    begun_at + toIntervalSecond(stay_s) AS left_at,
    if(failed, 0, least(power_kw * stay_s / 3600 * 0.6, 70)) AS kwh
SELECT
    format('many-{0}', toString(number)), station, format('{0}-{1}', station, toString(evse)), '1',
    format('ev-{0}', toString(intDiv(h, 5) %% 400000)),
    toUInt32(formatDateTime(begun_at, '%%Y%%m%%d%%H')), toUInt32(formatDateTime(left_at, '%%Y%%m%%d%%H')),
    begun_at, left_at, toDate(toTimeZone(begun_at, 'America/Chicago')),
    toHour(toTimeZone(begun_at, 'America/Chicago')), toDecimal64(kwh, 3), stay_s,
    if(failed, 0, stay_s * (intDiv(h, 3) %% 40) / 100), if(intDiv(h, 23) %% 100 < 8, 60 + h %% 1500, 0),
    20, 80,
    multiIf(failed, 'Other', cause < 6, 'GroundFault', cause < 10, 'PowerLoss', cause < 500, 'SOCLimitReached', 'Local'),
    'many', ''
FROM numbers(%(first)s, %(rows)s)
"""


def write_ten_million(
    settings: Settings, sessions: int = SESSIONS, stations: int = STATIONS, days: int = DAYS, to: datetime | None = None
) -> None:
    """Adds the stations, and the sessions of the `days` before today (UTC), to the warehouse's tables."""
    client: Client = clickhouse(settings)
    at = (to or datetime.now(UTC)).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    figures = {"stations": stations, "days": days, "evses": EVSES, "networks": NETWORKS, "sessions": sessions, "to": at}
    client.execute(_STATIONS, figures)
    for first in range(0, sessions, _ROWS_AT_ONCE):
        part = {"first": first, "rows": min(_ROWS_AT_ONCE, sessions - first)}
        # A day is a partition: a statement writes more of them than ClickHouse allows by default.
        client.execute(_SESSIONS, figures | part, settings={"max_partitions_per_insert_block": 0})
    client.execute("OPTIMIZE TABLE fact_charging_sessions", settings={"optimize_throw_if_noop": 0})

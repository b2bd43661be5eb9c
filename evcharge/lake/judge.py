"""Parses Kafka records by a contract and judges each by the row rules, in Spark SQL: for the archive and for the stream."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql.functions import broadcast

from evcharge.contracts import STATION_REGISTRY, Contract, FieldType, Rule
from evcharge.contracts.spark import ddl, verdict
from evcharge.contracts.vehicle_telemetry import MAX_JUMP_KMH, MIN_JUMP_KM
from evcharge.places import EARTH_KM
from evcharge.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

#: Producers' clocks may be ahead by this much; OCPP stations synchronise daily at worst (OCPP 2.0.1 part 2, B01).
CLOCK_SKEW_ALLOWED = timedelta(hours=24)

# RFC 8259 and nothing more: any reader of the topic must find the same in a message.
_JSON_OPTIONS = (
    "map('mode', 'PERMISSIVE', 'columnNameOfCorruptRecord', '_corrupt', "
    "'allowSingleQuotes', 'false', 'allowNonNumericNumbers', 'false', "
    "'timestampFormat', \"yyyy-MM-dd'T'HH:mm:ss[.SSSSSS][.SSS]XXX\")"
)
# Spark reads a text's first object and ignores what follows it, which it can not do within another object.
_WRAPPED = (
    "from_json(concat('{\"message\":', text, ',\"whole\":true}'), 'message MAP<STRING, STRING>, whole BOOLEAN', "
    f"{_JSON_OPTIONS})"
)
# The first test costs little and lets through what can only be one flat object: the first brace is the last byte. In bytes,
# since Spark counts characters one by one.
_MALFORMED = (
    "(_corrupt IS NOT NULL OR contains(substring(kafka_value, 1, octet_length(kafka_value) - 1), X'7D')) "
    f"AND ({_WRAPPED}.message IS NULL OR {_WRAPPED}.whole IS NULL)"
)


def judged(
    settings: Settings,
    rows: DataFrame,
    contract: Contract,
    stations: frozenset[str] | None = None,
    *,
    release: bool = False,
    jumps: bool = False,
) -> DataFrame:
    """Rows of Spark's Kafka source with the contract's columns and the verdict of the row rules.

    Columns: the contract's, `event_date`, kafka_partition, kafka_offset, kafka_timestamp and, null for a good row,
    kafka_key, kafka_value, rule_code, rule_field. The future is judged by the instant at which Kafka took the record, so that
    every attempt and every reader judges alike. `stations` are the registered ones, None where a station need not be. With
    `release` every row breaks RELEASED. With `jumps` a car's row is also judged by those before it in `rows`, which must
    then be a batch that is the same in every attempt.
    """
    # nothing here may differ from one batch to the next: its code would be compiled anew, and run cold
    latest = f"kafka_timestamp + INTERVAL '{CLOCK_SKEW_ALLOWED.total_seconds():.0f}' SECOND"
    event_time = contract.event_time
    parsed = rows.selectExpr(
        "partition AS kafka_partition",
        "offset AS kafka_offset",
        "timestamp AS kafka_timestamp",
        "key AS kafka_key",
        "value AS kafka_value",
        f"CASE WHEN octet_length(value) <= {settings.message_bytes_limit} AND is_valid_utf8(value) "
        "THEN CAST(value AS STRING) END AS text",
    ).selectExpr("*", f"from_json(text, '{ddl(contract)}, _corrupt STRING', {_JSON_OPTIONS}) AS message")
    texts = [f.name for f in contract.fields if f.type is FieldType.STRING]
    before_contract = [
        # the first test spares good rows the regular expression
        Rule("EMPTY_MESSAGE", "value", r"kafka_value IS NULL OR (schema_version IS NULL AND text RLIKE r'^\s*$')", ""),
        Rule("MESSAGE_TOO_LARGE", "value", f"octet_length(kafka_value) > {settings.message_bytes_limit}", ""),
        Rule("NOT_UTF8", "value", "text IS NULL", ""),
        Rule("MALFORMED_JSON", "value", _MALFORMED, ""),
        Rule("WRONG_TYPE", "value", "_corrupt IS NOT NULL", ""),
        # Spark reads an object or array where a text is due as its JSON
        *(
            Rule(
                "WRONG_TYPE",
                f,
                f"(startswith({f}, '{{') OR startswith({f}, '[')) AND try_parse_json({f}) IS NOT NULL",
                "",
            )
            for f in texts
        ),
    ]
    if release:
        before_contract.insert(0, Rule("RELEASED", "value", "true", ""))
    first_day = f"TIMESTAMP '{settings.event_days_from} 00:00:00Z'"
    times = [f.name for f in contract.fields if f.type is FieldType.TIMESTAMP]
    after_contract = [
        Rule("TIMESTAMP_IN_FUTURE", event_time, f"{event_time} > {latest}", ""),
        *(Rule("TIMESTAMP_TOO_OLD", time, f"{time} < {first_day}", "") for time in times),
    ]
    if contract is STATION_REGISTRY:
        # the contract can only tell what looks like a zone; one that Spark does not know would stop every later load
        known_zone = "try_reflect('java.time.ZoneId', 'of', time_zone) IS NOT NULL"
        after_contract.append(Rule("UNKNOWN_TIME_ZONE", "time_zone", f"NOT ({known_zone})", ""))
    columns = parsed.selectExpr(
        "kafka_partition", "kafka_offset", "kafka_timestamp", "kafka_key", "kafka_value", "text", "message.*"
    )
    if stations is not None:
        ids = pa.table({"registered_id": pa.array(sorted(stations), pa.string())})
        known = rows.sparkSession.createDataFrame(ids, "registered_id STRING")
        columns = columns.join(broadcast(known), columns["station_id"] == known["registered_id"], "left")
        after_contract.append(Rule("UNKNOWN_STATION", "station_id", "registered_id IS NULL", ""))
    verdicts = columns.selectExpr(
        "*",
        f"{verdict([*before_contract, *contract.rules, *after_contract])} AS broken",
    )
    if jumps:
        verdicts = _jumps_judged(verdicts)
    return verdicts.selectExpr(
        *contract.columns,
        f"CAST({event_time} AS DATE) AS event_date",
        "kafka_partition",
        "kafka_offset",
        "kafka_timestamp",
        # Only quarantine keeps the bytes: what is not sent to the Python workers costs nothing.
        "CASE WHEN broken IS NOT NULL THEN kafka_key END AS kafka_key",
        "CASE WHEN broken IS NOT NULL THEN kafka_value END AS kafka_value",
        "broken.rule_code AS rule_code",
        "broken.rule_field AS rule_field",
    )


def _jumps_judged(rows: DataFrame) -> DataFrame:
    """The rows with IMPLAUSIBLE_JUMP added to `broken`: too far from both of the car's two good rows before it.

    Of both, so that one outlier does not take the next good row with it; where there is only one before it, of that one.
    A car's first row in `rows` is not judged. Order is Kafka's: a car's records lie in one partition.
    """
    here = "CASE WHEN broken IS NULL THEN struct(latitude, longitude, occurred_at) END"
    order = "(PARTITION BY kafka_partition, vehicle_id ORDER BY kafka_offset)"
    before = {name: f"lag({here}, {n}) IGNORE NULLS OVER {order}" for n, name in ((1, "one_before"), (2, "two_before"))}
    jumped = (
        f"one_before IS NOT NULL AND {_too_far_from('one_before')} "
        f"AND (two_before IS NULL OR {_too_far_from('two_before')})"
    )
    jump = verdict([Rule("IMPLAUSIBLE_JUMP", "latitude", jumped, "")])
    return rows.selectExpr("*", *(f"{lag} AS {name}" for name, lag in before.items())).selectExpr(
        *(name for name in rows.columns if name != "broken"),
        f"CASE WHEN broken IS NULL THEN {jump} ELSE broken END AS broken",
    )


def _too_far_from(row: str) -> str:
    """Whether the great circle to another row, which must be there, is longer than a car drives in the time between."""
    chord = (
        f"pow(sin(radians(latitude - {row}.latitude) / 2), 2) + cos(radians(latitude)) "
        f"* cos(radians({row}.latitude)) * pow(sin(radians(longitude - {row}.longitude) / 2), 2)"
    )
    km = f"2 * {EARTH_KM} * asin(sqrt(least({chord}, 1D)))"
    hours = f"abs(unix_millis(occurred_at) - unix_millis({row}.occurred_at)) / 3600000D"
    return f"{km} > greatest({MIN_JUMP_KM}D, {MAX_JUMP_KMH} * {hours})"

"""Parses Kafka records by a contract and judges each by the row rules, in Spark SQL. The archive and the stream use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql.functions import broadcast

from evcharge.contracts import STATION_REGISTRY, Contract, Field, FieldType, Rule
from evcharge.contracts.spark import message_ddl, verdict
from evcharge.contracts.times import time_sql
from evcharge.contracts.vehicle_telemetry import MAX_JUMP_KMH, MIN_JUMP_KM
from evcharge.lake.last_places import DDL, KEPT
from evcharge.places import EARTH_KM
from evcharge.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

#: Producers' clocks may be ahead by this much: OCPP stations synchronise at least daily (OCPP 2.0.1 part 2, B01).
CLOCK_SKEW_ALLOWED = timedelta(hours=24)

# RFC 8259 without extensions, so that every reader of the topic finds the same in a message.
_JSON_OPTIONS = (
    "map('mode', 'PERMISSIVE', 'columnNameOfCorruptRecord', '_corrupt', "
    "'allowSingleQuotes', 'false', 'allowNonNumericNumbers', 'false')"
)
# Spark reads the first object of a text and ignores what follows. Wrapped into another object, what follows is an error.
_WRAPPED = (
    "from_json(concat('{\"message\":', text, ',\"whole\":true}'), 'message MAP<STRING, STRING>, whole BOOLEAN', "
    f"{_JSON_OPTIONS})"
)
_MALFORMED = f"(_corrupt IS NOT NULL OR many_braces) AND ({_WRAPPED}.message IS NULL OR {_WRAPPED}.whole IS NULL)"
# Cheap tests that spare good rows the costly ones. They look at bytes, since Spark counts characters one by one.
_CHEAP = {
    # if the first closing brace is the last byte, the text is at most one flat object
    "many_braces": "contains(substring(value, 1, octet_length(value) - 1), X'7D')",
    # JSON has a control character below U+0020 only after a backslash; U+007F is a byte, U+0080 to U+009F begin with C2
    "may_have_controls": "contains(value, X'5C') OR contains(value, X'7F') OR contains(value, X'C2')",
}


def judged(
    settings: Settings,
    rows: DataFrame,
    contract: Contract,
    stations: frozenset[str] | None = None,
    *,
    release: bool = False,
    last_places: pa.Table | None = None,
    carried: Sequence[str] = (),
) -> DataFrame:
    """Rows of Spark's Kafka source, parsed, with the verdict of the row rules.

    Columns: the contract's, event_date, kafka_partition, kafka_offset and kafka_timestamp; then kafka_key, kafka_value,
    rule_code and rule_field, which are null for a good row; then the `carried` ones of `rows`.

    A timestamp is in the future if it is after the instant at which Kafka took the record. So every attempt and every
    reader gives the same verdict. `stations` are the ids of the registered stations; None skips that rule. With `release`
    every row breaks RELEASED. With `last_places` (rows of `evcharge.lake.last_places`, as they were before the batch) a car's
    row is also judged by its rows before it. `rows` must then be the same batch in every attempt.
    """
    # Nothing in this SQL may differ from one batch to the next: Spark would compile its code again and run it cold.
    latest = f"kafka_timestamp + INTERVAL '{CLOCK_SKEW_ALLOWED.total_seconds():.0f}' SECOND"
    event_time = contract.event_time
    is_text = f"octet_length(value) <= {settings.message_bytes_limit} AND is_valid_utf8(value)"
    parsed = rows.selectExpr(
        "partition AS kafka_partition",
        "offset AS kafka_offset",
        "timestamp AS kafka_timestamp",
        "key AS kafka_key",
        # Each step copies what it passes on, so a message is in one of these alone.
        f"CASE WHEN {is_text} THEN CAST(value AS STRING) END AS text",
        f"CASE WHEN {is_text} THEN NULL ELSE value END AS no_text",
        *(f"{test} AS {name}" for name, test in _CHEAP.items()),
        *carried,
    ).selectExpr("*", f"from_json(text, '{message_ddl(contract)}, _corrupt STRING', {_JSON_OPTIONS}) AS message")
    times = [f.name for f in contract.fields if f.type is FieldType.TIMESTAMP]
    # schema_version is null only in a bad row: good rows skip the regular expression
    blank = r"schema_version IS NULL AND text RLIKE r'^\s*$'"
    before_contract = [
        Rule("EMPTY_MESSAGE", "value", f"(text IS NULL AND no_text IS NULL) OR ({blank})", ""),
        Rule("MESSAGE_TOO_LARGE", "value", f"octet_length(no_text) > {settings.message_bytes_limit}", ""),
        Rule("NOT_UTF8", "value", "text IS NULL", ""),
        Rule("MALFORMED_JSON", "value", _MALFORMED, ""),
        *(
            Rule("WRONG_TYPE", f.name, f"_corrupt IS NOT NULL AND {_is_unread(f)}", "")
            for f in contract.fields
            if f.type not in (FieldType.STRING, FieldType.TIMESTAMP)
        ),
        Rule("WRONG_TYPE", "value", "_corrupt IS NOT NULL", ""),
        *(Rule("WRONG_TYPE", f.name, wrong, "") for f in contract.fields if (wrong := _json_as_text(f))),
        *(Rule("WRONG_TYPE", time, f"{time} IS NULL AND {time}_text IS NOT NULL", "") for time in times),
    ]
    if release:
        before_contract.insert(0, Rule("RELEASED", "value", "true", ""))
    first_day = f"TIMESTAMP '{settings.event_days_from} 00:00:00Z'"
    # before the contract's own rules, which compare times
    bounds_of_times = [
        *(Rule("TIMESTAMP_IN_FUTURE", time, f"{time} > {latest}", "") for time in times),
        *(Rule("TIMESTAMP_TOO_OLD", time, f"{time} < {first_day}", "") for time in times),
    ]
    after_contract = []
    if contract is STATION_REGISTRY:
        # A Java that is older than a zone on the contract's list would stop every later load of its stations.
        zone = "try_reflect('org.apache.spark.sql.catalyst.util.DateTimeUtils', 'getZoneId', time_zone)"
        after_contract.append(Rule("UNKNOWN_TIME_ZONE", "time_zone", f"{zone} IS NULL", ""))
    columns = parsed.selectExpr(
        *("kafka_partition", "kafka_offset", "kafka_timestamp", "kafka_key", "text", "no_text", *_CHEAP),
        *(f"{time_sql(f'message.{n}')} AS {n}" if n in times else f"message.{n}" for n in contract.columns),
        *(f"message.{time} AS {time}_text" for time in times),
        "message._corrupt",
        *carried,
    )
    if stations is not None:
        ids = pa.table({"registered_id": pa.array(sorted(stations), pa.string())})
        known = rows.sparkSession.createDataFrame(ids, "registered_id STRING")
        columns = columns.join(broadcast(known), columns["station_id"] == known["registered_id"], "left")
        after_contract.append(Rule("UNKNOWN_STATION", "station_id", "registered_id IS NULL", ""))
    field_rules = [
        replace(rule, violated_when=f"may_have_controls AND {rule.violated_when}")
        if rule.code == "CONTROL_CHARACTER"
        else rule
        for rule in contract.field_rules
    ]
    rules = [*before_contract, *field_rules, *bounds_of_times, *contract.own_rules, *after_contract]
    verdicts = columns.selectExpr(
        "*",
        f"{verdict(rules)} AS broken",
    )
    if last_places is not None:
        verdicts = _jumps_judged(verdicts, last_places)
    return verdicts.selectExpr(
        *contract.columns,
        f"CAST({event_time} AS DATE) AS event_date",
        "kafka_partition",
        "kafka_offset",
        "kafka_timestamp",
        # Only quarantine keeps the bytes. Good rows do not carry them to the Python workers.
        "CASE WHEN broken IS NOT NULL THEN kafka_key END AS kafka_key",
        "CASE WHEN broken IS NOT NULL THEN coalesce(no_text, CAST(text AS BINARY)) END AS kafka_value",
        "broken.rule_code AS rule_code",
        "broken.rule_field AS rule_field",
        *carried,
    )


def _is_unread(field: Field) -> str:
    """SQL: whether Spark could not read the field's value in a message that it could not read as a whole."""
    value = f"get_json_object(text, '$.{field.name}')"
    if field.element:
        # Spark keeps the elements that it can read, so the list is read again by itself.
        again = f"from_json(concat('{{\"list\":', {value}, '}}'), 'list {field.type.value}, _corrupt STRING', {_JSON_OPTIONS})"
        return f"{value} IS NOT NULL AND {again}._corrupt IS NOT NULL"
    return f"{field.name} IS NULL AND {value} IS NOT NULL"


def _json_as_text(field: Field) -> str:
    """SQL: whether the field has an object or array where the contract has a text: Spark reads it as its JSON text.

    Empty if the field has no texts. A text in quotes that only looks like JSON, such as "[1]", is a text.
    """

    def is_json(column: str) -> str:
        return (
            f"(startswith({column}, '{{') OR startswith({column}, '[')) AND try_parse_json({column}) IS NOT NULL "
            f"AND NOT contains(text, concat('\"', {column}, '\"'))"
        )

    if field.type is FieldType.STRING:
        return is_json(field.name)
    if field.type is FieldType.STRINGS:
        return f"exists({field.name}, e -> {is_json('e')})"
    texts = [f"({is_json(f'e.{each.name}')})" for each in field.element if each.type is FieldType.STRING]
    return f"exists({field.name}, e -> {' OR '.join(texts)})" if texts else ""


def _jumps_judged(rows: DataFrame, last_places: pa.Table) -> DataFrame:
    """The rows, with IMPLAUSIBLE_JUMP in `broken` where a row is too far from both of the car's two good rows before it.

    It takes both, so that one outlier does not also condemn the good row after it. With one row before it, that one counts.
    A car's first row is not judged, nor one whose rows before it Kafka took more than KEPT earlier. The order is Kafka's: a
    car's records lie in one partition.
    """
    carried = rows.sparkSession.createDataFrame(last_places, DDL).selectExpr("*", "true AS carried")
    with_carried = rows.selectExpr("*", "false AS carried").unionByName(carried, allowMissingColumns=True)
    here = "CASE WHEN broken IS NULL THEN struct(latitude, longitude, occurred_at, kafka_timestamp) END"
    order = "(PARTITION BY kafka_partition, vehicle_id ORDER BY carried DESC, kafka_timestamp, kafka_offset)"
    before = {
        "one_before": f"lag({here}, 1) IGNORE NULLS OVER {order}",
        "two_before": f"lag({here}, 2) IGNORE NULLS OVER {order}",
    }
    since = f"kafka_timestamp - INTERVAL '{KEPT.total_seconds():.0f}' SECOND"
    jumped = (
        f"one_before.kafka_timestamp >= {since} AND {_too_far_from('one_before')} "
        f"AND (coalesce(two_before.kafka_timestamp < {since}, true) OR {_too_far_from('two_before')})"
    )
    jump = verdict([Rule("IMPLAUSIBLE_JUMP", "latitude", jumped, "")])
    return (
        with_carried.selectExpr("*", *(f"{lag} AS {name}" for name, lag in before.items()))
        .where("NOT carried")
        .selectExpr(
            *(name for name in rows.columns if name != "broken"),
            f"CASE WHEN broken IS NULL THEN {jump} ELSE broken END AS broken",
        )
    )


def _too_far_from(row: str) -> str:
    """SQL: whether the great circle to another row, not null, is longer than a car can drive in the time between them."""
    chord = (
        f"pow(sin(radians(latitude - {row}.latitude) / 2), 2) + cos(radians(latitude)) "
        f"* cos(radians({row}.latitude)) * pow(sin(radians(longitude - {row}.longitude) / 2), 2)"
    )
    km = f"2 * {EARTH_KM} * asin(sqrt(least({chord}, 1D)))"
    hours = f"abs(unix_millis(occurred_at) - unix_millis({row}.occurred_at)) / 3600000D"
    return f"{km} > greatest({MIN_JUMP_KM}D, {MAX_JUMP_KMH} * {hours})"

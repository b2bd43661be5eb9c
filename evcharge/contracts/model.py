"""What a message contract consists of: fields with types, units and bounds, and the row rules that follow from them.

A contract is plain data. Spark schemas (`spark.py`), Dagster column schemas and the data dictionary are derived from it.
The SQL of the warehouse is written by hand, and a test compares it with the contracts. Nothing here imports a client
library.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FieldType(StrEnum):
    """Column types under their Spark SQL names, so that DDL can be made from them."""

    STRING = "STRING"
    INTEGER = "INT"
    LONG = "BIGINT"
    DOUBLE = "DOUBLE"
    BOOLEAN = "BOOLEAN"
    TIMESTAMP = "TIMESTAMP"
    STRINGS = "ARRAY<STRING>"
    CONNECTORS = "ARRAY<STRUCT<connector_type: STRING, power_kw: DOUBLE, ports: INT>>"
    EVSES = "ARRAY<STRUCT<evse_id: STRING, connector_id: STRING, connector_type: STRING, power_kw: DOUBLE>>"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    A `required` field is never null. `values` are the only strings allowed; none: any. `minimum` and `maximum` are
    inclusive and in `unit`.
    """

    name: str
    type: FieldType
    description: str
    required: bool = False
    unit: str = ""
    values: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A row rule: it judges one row by itself, and a row that breaks it goes to quarantine under `code`.

    `violated_when` is a Spark SQL condition over the contract's columns; null counts as not violated. `field` names the
    column to look at.
    """

    code: str
    field: str
    violated_when: str
    description: str


@dataclass(frozen=True, slots=True)
class Contract:
    """A message on a Kafka topic. With the archive's columns added it is a row of `raw/<topic>/` in the lake.

    `key` names the field that is the Kafka key. `event_time` names the timestamp whose UTC date is the row's `event_date`.
    """

    topic: str
    key: str
    schema_version: int
    event_time: str
    description: str
    fields: tuple[Field, ...]
    own_rules: tuple[Rule, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    def field(self, name: str) -> Field:
        """The field of that name. Raises KeyError if there is none."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"{self.topic} has no field {name!r}")

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Row rules in the order in which they judge: missing, version, unknown, out of bounds, then the contract's own."""
        missing = [
            Rule("MISSING_FIELD", f.name, f"{f.name} IS NULL", f"{f.name} must be present")
            for f in self.fields
            if f.required
        ]
        unknown = [
            Rule(
                "UNKNOWN_VALUE",
                f.name,
                f"{f.name} NOT IN ({', '.join(repr(v) for v in f.values)})",
                f"{f.name} must be one of {', '.join(f.values)}",
            )
            for f in self.fields
            if f.values
        ]
        bounds = [
            Rule("OUT_OF_RANGE", f.name, " OR ".join(conditions), f"{f.name} must lie in its range")
            for f in self.fields
            if (conditions := _outside(f))
        ]
        version = Rule(
            "UNKNOWN_SCHEMA_VERSION",
            "schema_version",
            f"schema_version <> {self.schema_version}",
            f"schema_version must be {self.schema_version}",
        )
        return (*missing, version, *unknown, *bounds, *self.own_rules)


def _outside(field: Field) -> list[str]:
    conditions = []
    if field.type is FieldType.DOUBLE:
        conditions.append(f"isnan({field.name})")
    if field.minimum is not None:
        conditions.append(f"{field.name} < {field.minimum}")
    if field.maximum is not None:
        conditions.append(f"{field.name} > {field.maximum}")
    return conditions

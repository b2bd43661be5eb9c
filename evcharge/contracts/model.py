"""What a message contract consists of: fields with types, units and bounds, and the row rules that follow from them.

A contract is plain data. Spark schemas (`spark.py`), Dagster column schemas and the data dictionary are derived from it.
The SQL of the warehouse is written by hand, and a test compares it with the contracts. Nothing here imports a client
library.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

#: Elasticsearch's limit of a document's id: stations and vehicles are documents.
MAX_ID_BYTES = 512


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

    A `required` field is never null, and as a text never blank. `values` are the only strings allowed; none: any. `minimum`
    and `maximum` are inclusive and in `unit`. `max_bytes` bounds a text in UTF-8. An `is_id` is not blank and has no control
    characters. A list has at most `max_elements`, all of the form of `element`: one field for a list of texts, else the
    fields of its structs. `unique` names the one that no two of them share.
    """

    name: str
    type: FieldType
    description: str
    required: bool = False
    unit: str = ""
    values: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    max_bytes: int | None = None
    is_id: bool = False
    element: tuple[Field, ...] = ()
    max_elements: int | None = None
    unique: str = ""

    @property
    def limits(self) -> str:
        """What is allowed, in words; empty if anything is."""
        if self.values:
            return ", ".join(f"`{value}`" for value in self.values)
        low = None if self.minimum is None else f"{self.minimum:,.10g}"
        high = None if self.maximum is None else f"{self.maximum:,.10g}"
        parts = []
        if low and high:
            parts = [f"{low} to {high}"]
        elif low or high:
            parts = [f"from {low}" if low else f"up to {high}"]
        if self.max_bytes is not None:
            parts.append(f"at most {self.max_bytes:,} bytes")
        if self.max_elements is not None:
            parts.append(f"at most {self.max_elements:,} elements")
        parts += [f"{each.name} {each.limits}" for each in self.element if each.limits]
        return "; ".join(parts)


def id_field(name: str, description: str, *, required: bool = False, max_bytes: int = MAX_ID_BYTES) -> Field:
    """A field that identifies something."""
    return Field(name, FieldType.STRING, description, required=required, max_bytes=max_bytes, is_id=True)


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
        """All row rules, in the order in which they judge."""
        return (*self.field_rules, *self.own_rules)

    @property
    def field_rules(self) -> tuple[Rule, ...]:
        """The rules on single fields, which follow from their attributes: first missing ones, then the version."""
        derived = [rule for field in self.fields for rule in _rules_of(field)]
        version = Rule(
            "UNKNOWN_SCHEMA_VERSION",
            "schema_version",
            f"schema_version <> {self.schema_version}",
            f"schema_version must be {self.schema_version}",
        )
        return (
            *(rule for rule in derived if rule.code == _MISSING),
            version,
            *(rule for rule in derived if rule.code != _MISSING),
        )


_MISSING = "MISSING_FIELD"
# Java and Python read this regular expression alike. It has the control characters of ASCII and of Latin-1.
_CONTROL = r"r'[\x00-\x1F\x7F-\x9F]'"


def _rules_of(field: Field) -> Iterator[Rule]:
    """The rules that follow from a field's attributes."""
    name = field.name
    for code, condition, what in _conditions(field, name):
        yield Rule(code, name, condition, f"{name} {what}")
    if field.max_elements is not None:
        yield Rule(
            "TOO_MANY_ELEMENTS",
            name,
            f"size({name}) > {field.max_elements}",
            f"{name} must have at most {field.max_elements:,} elements",
        )
    for code, condition, what in element_conditions(field):
        yield Rule(code, name, f"exists({name}, e -> {condition})", f"{name}: {what}")
    if field.unique:
        yield Rule(
            "DUPLICATE_ID",
            name,
            f"size(array_distinct(transform({name}, e -> e.{field.unique}))) < size({name})",
            f"{name}: each {field.unique} must differ from the others",
        )


def element_conditions(field: Field) -> Iterator[tuple[str, str, str]]:
    """Code, SQL condition on an element `e` of the field's list, and what must hold, for each rule on an element."""
    if field.element:
        yield _MISSING, "e IS NULL", "each element must be present"
    for each in field.element:
        column = "e" if field.type is FieldType.STRINGS else f"e.{each.name}"
        for code, condition, what in _conditions(each, column):
            yield code, condition, f"each {each.name} {what}"


def _conditions(field: Field, column: str) -> Iterator[tuple[str, str, str]]:
    """Code, SQL condition on `column`, and what must hold, for each rule on a single value of the field."""
    if field.required:
        yield _MISSING, f"{column} IS NULL", "must be present"
    if field.values:
        allowed = ", ".join(repr(value) for value in field.values)
        yield "UNKNOWN_VALUE", f"{column} NOT IN ({allowed})", f"must be one of {', '.join(field.values)}"
    elif field.is_id or (field.required and field.max_bytes is not None):
        yield "BLANK_TEXT", f"trim({column}) = ''", "must not be blank"
    if field.max_bytes is not None:
        yield (
            "TEXT_TOO_LONG",
            f"octet_length({column}) > {field.max_bytes}",
            f"must have at most {field.max_bytes:,} bytes",
        )
    if field.is_id:
        yield "CONTROL_CHARACTER", f"{column} RLIKE {_CONTROL}", "must have no control characters"
    if outside := _outside(field, column):
        yield "OUT_OF_RANGE", " OR ".join(outside), "must lie in its range"


def _outside(field: Field, column: str) -> list[str]:
    conditions = []
    if field.type is FieldType.DOUBLE:
        conditions.append(f"isnan({column})")
    if field.minimum is not None:
        conditions.append(f"{column} < {field.minimum}")
    if field.maximum is not None:
        conditions.append(f"{column} > {field.maximum}")
    return conditions

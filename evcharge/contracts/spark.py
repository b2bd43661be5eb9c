"""Spark SQL derived from a contract: the schemas to read rows and messages with, and the verdict on a row."""

from collections.abc import Iterable

from evcharge.contracts.model import Contract, Field, FieldType, Rule, element_conditions

_LAST_TIME = "TIMESTAMP '9999-12-31 00:00:00Z'"


def ddl(contract: Contract) -> str:
    """The contract's fields as Spark DDL, in order. All are nullable: the rules, not the parser, find what is missing."""
    return ", ".join(f"{field.name} {field.type.value}" for field in contract.fields)


def message_ddl(contract: Contract) -> str:
    """The same for a message: times are texts, because `evcharge.contracts.times` accepts more forms than Spark does."""
    kinds = ((f.name, FieldType.STRING if f.type is FieldType.TIMESTAMP else f.type) for f in contract.fields)
    return ", ".join(f"{name} {kind.value}" for name, kind in kinds)


def readable(field: Field) -> str:
    """A column of the archive as a Spark SQL expression that every reader takes, whatever rules the row was judged by.

    Rows that were published under looser rules stay as they are. Read like this, a list lacks the elements that today's rules
    refuse, and a time after the year 9999, which Python cannot hold, is that year's last day.
    """
    name = field.name
    if field.element:
        refused = " OR ".join(f"({condition})" for _, condition, _ in element_conditions(field))
        return f"filter({name}, e -> NOT coalesce({refused}, false)) AS {name}"
    if field.type is FieldType.TIMESTAMP:
        return f"if({name} > {_LAST_TIME}, {_LAST_TIME}, {name}) AS {name}"
    return name


def verdict(rules: Iterable[Rule]) -> str:
    """A Spark SQL expression: null for a row that keeps all rules, else the struct (rule_code, rule_field) of the first
    rule that the row breaks.
    """
    cases = " ".join(
        f"WHEN {rule.violated_when} THEN named_struct('rule_code', '{rule.code}', 'rule_field', '{rule.field}')"
        for rule in rules
    )
    return f"CASE {cases} END"

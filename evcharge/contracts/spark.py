"""Spark SQL derived from a contract: the schemas to read rows and messages with, and the verdict on a row."""

from collections.abc import Iterable

from evcharge.contracts.model import Contract, FieldType, Rule


def ddl(contract: Contract) -> str:
    """The contract's fields as Spark DDL, in order. All are nullable: the rules, not the parser, find what is missing."""
    return ", ".join(f"{field.name} {field.type.value}" for field in contract.fields)


def message_ddl(contract: Contract) -> str:
    """The same for a message: times are texts, because `evcharge.contracts.times` accepts more forms than Spark does."""
    kinds = ((f.name, FieldType.STRING if f.type is FieldType.TIMESTAMP else f.type) for f in contract.fields)
    return ", ".join(f"{name} {kind.value}" for name, kind in kinds)


def verdict(rules: Iterable[Rule]) -> str:
    """A Spark SQL expression: null for a row that keeps all rules, else the struct (rule_code, rule_field) of the first
    rule that the row breaks.
    """
    cases = " ".join(
        f"WHEN {rule.violated_when} THEN named_struct('rule_code', '{rule.code}', 'rule_field', '{rule.field}')"
        for rule in rules
    )
    return f"CASE {cases} END"

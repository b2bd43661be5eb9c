"""Spark SQL derived from a contract: the schema to parse with, and the verdict on a row."""

from collections.abc import Iterable

from evcharge.contracts.model import Contract, Rule


def ddl(contract: Contract) -> str:
    """The contract's fields as Spark DDL, in order. All are nullable: the rules, not the parser, find what is missing."""
    return ", ".join(f"{field.name} {field.type.value}" for field in contract.fields)


def verdict(rules: Iterable[Rule]) -> str:
    """A Spark SQL expression: null for a row that keeps all rules, else the struct (rule_code, rule_field) of the first
    rule that the row breaks.
    """
    cases = " ".join(
        f"WHEN {rule.violated_when} THEN named_struct('rule_code', '{rule.code}', 'rule_field', '{rule.field}')"
        for rule in rules
    )
    return f"CASE {cases} END"

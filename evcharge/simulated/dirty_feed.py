"""The dirty feed in the platform's terms: deliveries as Kafka records, and the rule that will refuse each bad one."""

from __future__ import annotations

from collections.abc import Iterable

from evcharge.contracts import SESSION_EVENTS
from evcharge.feeds.messages import message
from simulation.dirt import Delivery, Fault, Malformed

_RULE_OF_KIND = {
    Malformed.CUT_OFF: "MALFORMED_JSON",
    Malformed.HTML: "MALFORMED_JSON",
    Malformed.WRONG_TYPE: "WRONG_TYPE",
    Malformed.MISSING_FIELD: "MISSING_FIELD",
    Malformed.UNKNOWN_VALUE: "UNKNOWN_VALUE",
}


def encoded(deliveries: Iterable[Delivery]) -> list[tuple[bytes, bytes]]:
    """Key and value of each delivery, ready to send: messages as the contract's JSON, broken bytes unchanged."""
    return [
        (
            delivery.key.encode(),
            delivery.message if isinstance(delivery.message, bytes) else message(SESSION_EVENTS, delivery.message),
        )
        for delivery in deliveries
    ]


def quarantined_as(delivery: Delivery) -> str | None:
    """The rule under which the delivery goes to quarantine, judged by its injected faults alone; None if it is published.

    An unregistered station is refused as well, but it is no injected fault.
    """
    code = None
    for injection in delivery.injected:
        if injection.fault is Fault.MALFORMED:
            return _RULE_OF_KIND[Malformed(injection.detail["kind"])]
        if injection.detail.get("ends_before_start"):
            code = "ENDS_BEFORE_START"
    return code

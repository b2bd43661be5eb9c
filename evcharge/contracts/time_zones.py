"""The time zones that every reader knows: Python's `zoneinfo`, and Spark, which has Java's zones.

What is in this list is accepted everywhere; anything else is UNKNOWN_TIME_ZONE. The names are those of the package `tzdata`,
so they do not depend on what the machine has installed.
"""

from functools import cache
from importlib.resources import files

#: Names of tzdata that Java does not know: a zone that Java 17 (17.0.15) is older than, and two that Java leaves out.
_UNKNOWN_TO_JAVA = frozenset({"America/Coyhaique", "Factory", "ROC"})


@cache
def known_time_zones() -> frozenset[str]:
    """The IANA names of all accepted time zones, links such as `GB` and `Japan` too."""
    names = files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()
    return frozenset(names) - _UNKNOWN_TO_JAVA


def is_known_time_zone(name: str) -> bool:
    """Whether every reader knows the time zone. Capitals and blanks count."""
    return name in known_time_zones()

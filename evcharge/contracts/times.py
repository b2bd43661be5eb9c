"""The forms in which a message may give a time. Spark reads them to judge a message, Python to compare the stores.

ISO-8601 with a UTC offset: `2026-11-21T12:00:00.000Z`. `T` may be `t` or a blank, `Z` may be `z`, `+01:00`, `+0100` or `+01`.
Seconds may be left out, and digits after microseconds are cut off. A whole number is seconds since 1970.
"""

import re
from datetime import UTC, datetime

# Python and Java read these alike. More digits than four in a year are read so that the rules can say "in the future".
_SECONDS = r"-?[0-9]{1,12}"
_ISO = r"[+]?[0-9]{4,6}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)"


def time_sql(text: str) -> str:
    """A Spark SQL expression: the TIMESTAMP that the STRING expression `text` gives; null if it gives none."""
    # Spark needs seconds. Where they are left out, the offset begins at the 17th character.
    no_seconds = f"substr({text}, 17, 1) IN ('Z', 'z', '+', '-')"
    with_seconds = f"if({no_seconds}, concat(left({text}, 16), ':00', substr({text}, 17)), {text})"
    return (
        rf"CASE WHEN {text} RLIKE r'^{_ISO}\z' THEN try_cast(upper({with_seconds}) AS TIMESTAMP) "
        rf"WHEN {text} RLIKE r'^{_SECONDS}\z' THEN timestamp_seconds(CAST({text} AS BIGINT)) END"
    )


def read_time(value: object) -> datetime:
    """The time that a message's value gives, as Spark reads it. Raises ValueError if it gives none that Python can hold."""
    text = str(value)
    try:
        if re.fullmatch(_SECONDS, text):
            return datetime.fromtimestamp(int(text), UTC)
        if re.fullmatch(_ISO, text):
            return datetime.fromisoformat(text.upper())
    except OverflowError:
        pass
    raise ValueError(f"{value!r} is not a time with a UTC offset")

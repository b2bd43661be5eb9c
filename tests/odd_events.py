"""Messages with session events that break rules or look odd, made at random."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from judging import EVENT

from evcharge.contracts import SESSION_EVENTS
from evcharge.contracts.session_events import EVENT_TYPES, STOP_REASONS

VALUES: tuple[Any, ...] = (
    *(None, "", " ", " x", "x", "x-1", "s", "s-1", "1", 0, 1, -1, 1.5, -0.0, 1e-320, 1e300, 2**31, True, False),
    *("x" * 512, "x" * 513, [], [1], {}, {"a": 1}, "{}", "[1]", "null", "a\u00e9", "a\n", "\\", '"'),
    *EVENT_TYPES[-3:],
    *STOP_REASONS[:2],
    *("2026-11-21T11:00:00Z", "2026-11-21T11:00:00.5Z", "2026-11-21T11:00:00.1234567Z", "2026-11-21T11:00:00.Z"),
    *("2026-11-21T11:00Z", "2026-11-21T11:00:00+01:00", "2026-11-22T12:00:00Z", "2026-11-22T12:00:00.000001Z"),
    *("2024-02-29T00:00:00Z", "2025-02-29T00:00:00Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"),
    *(
        "2026-11-21T11:00:00z",
        "2026-11-21T11:60:00Z",
        "2025-11-20T11:58:00.9Z",
        "2025-11-20T11:59:00.2Z",
        1_763_726_340,
    ),
)
PIECES = (
    *(b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b" ", b"\t", b"\n", b"0", b"-", b"+", b".", b"e5", b"E-400"),
    *(
        b"1" * 400,
        b"null",
        b"true",
        b"NaN",
        b"//",
        b"'",
        b"\x00",
        b"\x7f",
        b"\xc2\x9f",
        b"\xff",
        b'"x":1,',
        b'"sequence":2,',
    ),
)


def varied(random: Random) -> bytes:
    """A message with other values, members or bytes than a good one."""
    event = dict(EVENT)
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        name = random.choice([*SESSION_EVENTS.columns, "note"])
        event[name] = random.choice(VALUES)
        if random.random() < 0.1:
            del event[name]
    if random.random() < 0.5:
        event |= {"event_id": f"{event.get('session_id')}-{event.get('sequence')}"}
    if random.random() < 0.2:
        event["event_type"] = random.choice(EVENT_TYPES)
    names = list(event)
    random.shuffle(names)
    text = json.dumps({name: event[name] for name in names}, ensure_ascii=random.random() < 0.5).encode()
    for _ in range(random.choice((0, 0, 0, 1, 2))):
        at = random.randrange(len(text) + 1)
        end = at + random.choice((0, 0, 1, 4))
        text = text[:at] + random.choice((b"", *PIECES)) + text[end:]
    return text

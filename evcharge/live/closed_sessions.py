"""The sessions of a station that ended lately, as its document has them: 14 bytes each, where an id alone has 30 and more.

They are most of a busy station's document, which is written for each of its batches.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import blake2b

#: A station knows some hundred sessions, of which two have the same 8 bytes in one of 10^15 cases.
_DIGEST_BYTES = 8
#: Enough for ms since the epoch until the year 10889.
_TIME_BYTES = 6


def digest(session_id: str) -> bytes:
    """What stands for a session id among those that ended."""
    return blake2b(session_id.encode(), digest_size=_DIGEST_BYTES).digest()


def packed_ends(ends: Mapping[bytes, int]) -> str:
    """The ends (ms since the epoch) by `digest`, as one text that does not depend on their order."""
    return b64encode(b"".join(sorted([key + at.to_bytes(_TIME_BYTES, "big") for key, at in ends.items()]))).decode()


def unpacked_ends(text: str) -> dict[bytes, int]:
    """The ends of which `packed_ends` made the text."""
    content, size = b64decode(text), _DIGEST_BYTES + _TIME_BYTES
    entries = (content[at : at + size] for at in range(0, len(content), size))
    return {entry[:_DIGEST_BYTES]: int.from_bytes(entry[_DIGEST_BYTES:], "big") for entry in entries}

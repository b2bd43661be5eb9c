"""Text as a terminal shows it and nothing more: data may hold characters that move the cursor or turn letters around."""

from __future__ import annotations

import unicodedata

#: Unicode's categories of characters that steer a terminal or the order of letters, and of those that it cannot show:
#: controls, formats (bidirectional overrides), surrogates, line and paragraph separators.
_STEERING = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
#: Formats that names need: they join letters, in Persian or Hindi for instance, and the parts of an emoji.
_JOINERS = frozenset("\u200c\u200d")


def plain(text: str) -> str:
    """The text in one line, with an escape such as `\\x1b` for each character that would steer a terminal."""
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode()
        if unicodedata.category(char) in _STEERING and char not in _JOINERS
        else char
        for char in text
    )

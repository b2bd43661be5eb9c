"""A terminal shows what it is given as it is: no value of data, settings, servers or users can style or steer it.

Strings are data. What has a style of ours is a `Text`, made by `styled`. rich is imported here, so commands import this module
inside their functions.
"""

from __future__ import annotations

from typing import IO, Any, Self

from rich.console import Console
from rich.status import Status
from rich.text import Text

from evcharge.cli.plain_text import plain


class PlainConsole(Console):
    """A console without markup, emoji codes and highlighting, on which `plain` shows every string."""

    def __init__(self, *, stderr: bool = False, width: int | None = None, file: IO[str] | None = None) -> None:
        super().__init__(stderr=stderr, width=width, file=file, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(plain(text), **options | {"markup": False, "emoji": False})


class PlainStatus(Status):
    """A spinner beside a text."""

    def __init__(self, doing: str) -> None:
        super().__init__(styled(doing), console=PlainConsole(stderr=True))

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def say(self, doing: str) -> None:
        """Replaces the text."""
        self.update(styled(doing))


def styled(text: str, style: str = "") -> Text:
    """A text in a style of rich."""
    return Text(plain(text), style)


def lines(*texts: str) -> Text:
    """A cell of several lines."""
    return Text("\n").join(map(styled, texts))

"""A bar on stderr for what takes long; stdout is for the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import ProgressColumn


@contextmanager
def progress_bar(label: str, total: float, column: ProgressColumn) -> Iterator[Callable[[float], None]]:
    """Shows `label`, a bar, `column` and the time; gives a function that tells how much of `total` has been done since."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn(label), BarColumn(), column, TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda done: progress.advance(task, done)

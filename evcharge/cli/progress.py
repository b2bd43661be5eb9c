"""Shows what each service is doing: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

#: Plain lines repeat what takes long only this often.
_PLAIN_INTERVAL_S = 20.0


class Progress:
    """A context manager that is called with a name and what is going on with it; "ready" ends a name's clock."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._started: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._doing: dict[str, str] = {}
        self._printed: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()
        self._live = Live(get_renderable=self._table, console=self.console, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def __call__(self, name: str, doing: str) -> None:
        now = time.monotonic()
        with self._lock:
            if name in self._ended and doing not in _FINAL:
                self._started.pop(name)
                self._ended.pop(name)
            self._started.setdefault(name, now)
            self._doing[name] = doing
            if doing in _FINAL:
                self._ended.setdefault(name, now)
            if not self.console.is_terminal:
                self._print(name, doing, now)

    def _print(self, name: str, doing: str, now: float) -> None:
        kind, at = doing.partition(":")[0], now - self._started[name]
        before, printed_at = self._printed.get(name, ("", 0.0))
        if kind != before or now - printed_at > _PLAIN_INTERVAL_S:
            self._printed[name] = (kind, now)
            self.console.print(f"{name:<18} {at:6.1f} s  {doing}", markup=False, highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        now = time.monotonic()
        table = Table.grid(padding=(0, 2))
        with self._lock:
            for name, started in self._started.items():
                ended = self._ended.get(name)
                mark = Text("✓", style="green") if ended else Spinner("dots")
                spent = f"{(ended or now) - started:.0f} s"
                table.add_row(mark, name, Text(spent, justify="right"), Text(self._doing[name], overflow="ellipsis"))
        return table


_FINAL = ("ready", "stopped")

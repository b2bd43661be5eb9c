"""Shows on stderr how far long work is. Stdout is for the report."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Self

from rich.live import Live
from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from evcharge.cli.output import say
from evcharge.cli.terminal import PlainConsole, PlainStatus, styled
from evcharge.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from evcharge.recorded.replay import ReplayReport
    from evcharge.settings import Settings
    from evcharge.warehouse.wait import Missing

#: Off a terminal, a line that says the same as the one before is printed only this often.
_PLAIN_INTERVAL_S = 20.0
#: Twice the time after which the planning sensor, by default, publishes even a few rows.
_NOBODY_PUBLISHES_S = 180
#: What a service does when its clock stops.
_FINAL = ("ready", "stopped")


class Progress:
    """Shows what each service is doing: a live table on a terminal, plain lines elsewhere.

    A context manager that is called with a name and what that name is doing. "ready" and "stopped" stop the name's clock.
    """

    def __init__(self, console: PlainConsole | None = None) -> None:
        self.console = console or PlainConsole(stderr=True)
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
            self.console.print(f"{name:<18} {at:6.1f} s  {doing}", soft_wrap=True)

    def _table(self) -> Table:
        now = time.monotonic()
        table = Table.grid(padding=(0, 2))
        with self._lock:
            for name, started in self._started.items():
                ended = self._ended.get(name)
                mark = styled("✓", "green") if ended else Spinner("dots")
                spent = f"{(ended or now) - started:.0f} s"
                doing = styled(self._doing[name])
                doing.overflow = "ellipsis"
                table.add_row(mark, name, Text(spent, justify="right"), doing)
        return table


@contextmanager
def progress_bar(label: str, total: float, column: ProgressColumn) -> Iterator[Callable[[float], None]]:
    """Shows `label`, a bar, `column` and the time. Yields a function that adds to what is done of `total`."""
    columns = TextColumn(label, markup=False), BarColumn(), column, TimeElapsedColumn()
    with Bars(*columns, console=PlainConsole(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=total)
        yield lambda done: bars.advance(task, done)


def spinner(doing: str) -> PlainStatus:
    """A context manager that shows `doing` beside a spinner; its `say` takes another text."""
    return PlainStatus(doing)


def wait_for_warehouse(
    settings: Settings,
    topic_offsets: dict[str, dict[int, int]],
    event_dates: set[date],
    timeout_s: int,
    sent: Sequence[pa.Table] = (),
) -> None:
    """Shows how much is missing until the warehouse has what was sent.

    `sent` has topic, partition and offset of each message. Raises UserError if some of them went to quarantine. Also
    WaitTimeoutError and ServerDownError.
    """
    later = _wait(settings, topic_offsets, event_dates, timeout_s)
    rules = _quarantined(settings, sent)
    if rules:
        raise UserError(_in_quarantine(rules))
    say(f"the warehouse has them{_but_for(later)}", err=True)


def _wait(
    settings: Settings, topic_offsets: dict[str, dict[int, int]], event_dates: set[date], timeout_s: int
) -> list[date]:
    """Waits, and returns the dates that have not begun."""
    # imported here: a simulation without servers shows a bar, and loads none of their clients
    from evcharge.warehouse import wait

    with spinner("waiting for the lake and the warehouse") as status:

        def update(missing: Missing) -> None:
            idle = missing.waited_s > _NOBODY_PUBLISHES_S and missing.unpublished_rows
            hint = "; is the Dagster daemon running? See `evcharge stack status`" if idle else ""
            status.say(
                f"waiting {missing.waited_s:.0f} s: {missing.unpublished_rows:,} rows to publish, "
                f"{missing.unloaded_days} days to load{hint}"
            )

        return wait.wait_until_loaded(settings, topic_offsets, event_dates, timeout_s, update)


def _but_for(later: list[date]) -> str:
    dates = ", ".join(day.isoformat() for day in later)
    return f", but for {dates}: a day is loaded once it has begun" if later else ""


def wait_for_sessions(settings: Settings, report: ReplayReport, timeout_s: int) -> None:
    """Waits for a replay's sessions, and says how many the warehouse has.

    Raises UserError if some are not there, or if other rows of the replay went to quarantine. Also WaitTimeoutError and
    ServerDownError.
    """
    import pyarrow.compute as pc

    from evcharge.contracts import SESSION_EVENTS
    from evcharge.feeds.sent_ledger import read_sent
    from evcharge.warehouse import wait

    later = _wait(settings, report.topic_offsets, report.ended_on, timeout_s)
    rules = _quarantined(settings, report.sent)
    events = read_sent(settings, report.feed, topic=SESSION_EVENTS.topic)
    loaded = wait.loaded_sessions(settings, events.filter(pc.equal(events["event_type"], "stopped")))
    has = f"the warehouse has {loaded:,} of {report.sessions:,} sessions"
    if rules:
        raise UserError(_in_quarantine(rules, f"; {has}"))
    if loaded < report.sessions and not later:
        raise UserError(f"{has}, though none of their rows is in quarantine. See `evcharge reconcile`")
    say(f"the warehouse has them: {loaded:,} sessions{_but_for(later)}", err=True)


def _quarantined(settings: Settings, sent: Sequence[pa.Table]) -> Counter[str]:
    if not sent:
        return Counter()
    import pyarrow as pa

    from evcharge.lake.repository import Repository
    from evcharge.warehouse import wait

    return wait.quarantined(Repository(settings), pa.concat_tables(sent))


def _in_quarantine(rules: Counter[str], what_else: str = "") -> str:
    counts = ", ".join(f"{rule} {count:,}" for rule, count in rules.most_common())
    return f"{rules.total():,} rows went to quarantine ({counts}){what_else}. docs/data-dictionary.md has the rules"

"""How near visits drawn from fits come to recorded days that the fits have not seen: the table of docs/realism.md.

Each site is fitted to its odd days and scored on its even ones, and the other way round. What two halves of the real days
are apart is the yardstick: nobody can be expected to be nearer to days unseen than the days of the same site are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from evcharge.errors import UserError
from evcharge.recorded.fitting import (
    COMPARED_DAYS,
    CORRELATIONS,
    DISPERSION,
    DISTRIBUTIONS,
    Days,
    Score,
    fit,
    score,
)
from evcharge.recorded.readers import Recording
from simulation.profile import SiteProfile, Visits
from simulation.realism import Interval

#: Where the table stands in docs/realism.md; between them nothing is written by hand.
BEGIN, END = "<!-- realism:begin -->", "<!-- realism:end -->"

COLUMNS = (
    "site",
    "fitted to, scored on",
    "sessions",
    "start hour",
    "stay",
    "energy",
    "stay-energy correlation",
    "start-stay correlation",
    "day-count dispersion",
)

#: Visits of a profile over many days, the first of which is a Monday.
Draw = Callable[[SiteProfile], Visits]


@dataclass(frozen=True, slots=True)
class RealismRow:
    """A site's score on the days that its profile was not fitted to."""

    site: str
    fitted: Days
    score: Score


def draw_from_profile(profile: SiteProfile) -> Visits:
    """Visits as the profile draws them, without cars, queues and chargers."""
    return profile.draw(seed=0, days=COMPARED_DAYS)


def realism_table(recordings: Iterable[Recording], draw: Draw = draw_from_profile) -> list[RealismRow]:
    """Two rows for each recording of one site: fitted to its odd days, and to its even ones.

    `draw` makes the visits that are scored of a profile. Raises UserError where a recording can not be fitted, and where
    nothing is drawn.
    """
    rows = []
    for recording in recordings:
        for fitted in (Days.ODD, Days.EVEN):
            profile = fit(recording, fitted)
            drawn = draw(profile)
            if len(drawn) < 2:
                raise UserError(f"{recording.path}: {len(drawn)} visits were drawn, which can not be compared")
            rows.append(
                RealismRow(recording.stations[0]["station_name"], fitted, score(profile, recording, fitted, drawn))
            )
    return rows


def markdown(rows: Iterable[RealismRow]) -> str:
    """The rows as a Markdown table of `COLUMNS`.

    KS distances are `ours / real / ratio`; statistics are ours and the 95 % interval of the real days, told where outside.
    """
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for row in rows:
        cells = [
            row.site.replace("|", "\\|"),
            f"{row.fitted.value}, {row.score.days.value}",
            f"{row.score.sessions:,}",
            *(_told_distance(*row.score.distances[name]) for name in DISTRIBUTIONS),
            *(_told_interval(row.score.intervals[name]) for name in (*CORRELATIONS, DISPERSION)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_table(path: Path, rows: Iterable[RealismRow]) -> None:
    """Puts the table between the two markers of a document. Raises UserError if it can not be written or lacks them."""
    try:
        before, begin, rest = path.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        if not (begin and end):
            raise UserError(f"{path}: the table belongs between the lines {BEGIN} and {END}, which are not there")
        path.write_text(f"{before}{BEGIN}\n{markdown(rows)}{END}{after}")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error


def _told_distance(ours: float, real: float) -> str:
    return f"{ours:.3f} / {real:.3f} / {ours / real:.2f}" if real > 0 else f"{ours:.3f} / {real:.3f} / -"


def _told_interval(told: Interval) -> str:
    return f"{told.simulated:.2f} ({told.low:.2f} to {told.high:.2f}{'' if told.inside else ', outside'})"

"""How near drawn visits come to recorded days that the fit has not seen: the table of docs/realism.md.

Each site is fitted to its odd days and scored on its even days, and the other way round. The distance between the two halves
of the real days is the yardstick: no fit can be expected to come nearer to unseen days than other days of the same site.
"""

from __future__ import annotations

import re
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
from simulation.comparison import Interval
from simulation.profile import SiteProfile, Visits

#: The table of docs/realism.md stands between these two; nobody edits it by hand.
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

    `draw` makes the visits of a profile that are scored. Raises UserError if a recording cannot be fitted or nothing is
    drawn.
    """
    rows = []
    for recording in recordings:
        for fitted in (Days.ODD, Days.EVEN):
            profile = fit(recording, fitted)
            drawn = draw(profile)
            if len(drawn) < 2:
                raise UserError(f"{recording.path}: {len(drawn)} visits were drawn, too few to compare")
            rows.append(
                RealismRow(recording.stations[0]["station_name"], fitted, score(profile, recording, fitted, drawn))
            )
    return rows


def markdown(rows: Iterable[RealismRow]) -> str:
    """The rows as a Markdown table of `COLUMNS`.

    KS distances are `ours / real / ratio`. Statistics are ours with the 95 % interval of the real days, and `outside` where
    ours lies outside.
    """
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for row in rows:
        cells = [
            _in_markdown(row.site),
            f"{row.fitted.value}, {row.score.days.value}",
            f"{row.score.sessions:,}",
            *(_distance_text(*row.score.distances[name]) for name in DISTRIBUTIONS),
            *(_interval_text(row.score.intervals[name]) for name in (*CORRELATIONS, DISPERSION)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _in_markdown(name: str) -> str:
    """A name of somebody's file, as it is, in one cell."""
    return re.sub(r"([\\`*_\[\]<>&|])", r"\\\1", " ".join(name.split()))


def write_table(path: Path, rows: Iterable[RealismRow]) -> None:
    """Puts the table between the two markers of a document. Raises UserError if it lacks them or cannot be written."""
    try:
        before, begin, rest = path.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        if not (begin and end):
            raise UserError(f"{path}: the table belongs between the lines {BEGIN} and {END}, which are not there")
        path.write_text(f"{before}{BEGIN}\n{markdown(rows)}{END}{after}")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error


def _distance_text(ours: float, real: float) -> str:
    return f"{ours:.3f} / {real:.3f} / {ours / real:.2f}" if real > 0 else f"{ours:.3f} / {real:.3f} / -"


def _interval_text(statistic: Interval) -> str:
    return f"{statistic.simulated:.2f} ({statistic.low:.2f} to {statistic.high:.2f}{'' if statistic.inside else ', outside'})"

"""The published scores of the forecasts: in the package, for programs, and as tables in docs/forecast.md."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal, get_args

from evcharge.errors import UserError
from evcharge.settings import PROJECT

#: Of real recordings, and of the simulator's truth.
Truth = Literal["recordings", "simulation"]
TRUTHS: tuple[Truth, ...] = get_args(Truth)

PUBLISHED = Path(__file__).with_name("published_score.json")
PAGE = PROJECT / "docs" / "forecast.md"


def published() -> dict[str, Any]:
    """The published scores by truth. A truth that was not scored yet is not there."""
    found: dict[str, Any] = json.loads(PUBLISHED.read_text())
    return found


def publish(truth: Truth, score: dict[str, Any], made_by: str, *, file: Path = PUBLISHED, page: Path = PAGE) -> None:
    """Replaces a truth's score, as its `to_json` says, in the package and on the page. `made_by` is the command.

    Raises UserError outside a clone of the repository, where there is no page.
    """
    if not page.exists():
        raise UserError(f"{page} is not there: scores are published from a clone of the repository")
    scores = json.loads(file.read_text()) if file.exists() else {}
    scores[truth] = {"made_by": made_by, **_rounded(score)}
    text = with_table(page.read_text(), truth, scores[truth])
    file.write_text(json.dumps(scores, indent=2, sort_keys=True) + "\n")
    page.write_text(text)


def with_table(text: str, truth: Truth, score: dict[str, Any]) -> str:
    """A page with a truth's table between its marks. Raises UserError if the marks are not there."""
    begin, end = f"<!-- {truth}:begin -->", f"<!-- {truth}:end -->"
    if begin not in text or end not in text:
        raise UserError(f"the page has no marks {begin} and {end} for the table")
    block = f"{begin}\n\nMade by `{score['made_by']}`:\n\n{markdown(score)}\n\n{end}"
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: block, text, flags=re.DOTALL)


def markdown(score: dict[str, Any]) -> str:
    """A score's horizons as a Markdown table."""
    lines = [
        "| ahead | samples | Brier | no change | climatology | skill | calibration error | full now: Brier | no change |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in score["horizons"]:
        cells = [
            f"{row['minutes']} min",
            f"{row['samples']:,}",
            _figure(row["brier"]),
            _figure(row["brier_persistence"]),
            _figure(row["brier_climatology"]),
            "" if row["brier_skill"] is None else f"{100 * row['brier_skill']:.1f} %",
            _figure(row["ece"]),
            _figure(row["brier_full_now"]),
            _figure(row["brier_persistence_full_now"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _rounded(value: Any) -> Any:
    """Figures to six places: the last bits differ between machines."""
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return round(value, 6) if isinstance(value, float) else value

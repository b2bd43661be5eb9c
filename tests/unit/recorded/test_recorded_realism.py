"""The realism table: fits scored on days that they have not seen, written between the markers of docs/realism.md."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from evcharge.errors import UserError
from evcharge.recorded.fitting import Days, Score
from evcharge.recorded.readers import Recording, read_sessions
from evcharge.recorded.realism import (
    BEGIN,
    COLUMNS,
    END,
    RealismRow,
    draw_from_profile,
    markdown,
    realism_table,
    write_table,
)
from evcharge.settings import PROJECT
from simulation.comparison import Interval
from simulation.profile import SiteProfile, Visits

DAYS = 240


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """About nine sessions a day in the mornings: who stays longer takes more."""
    random = np.random.default_rng(3)
    lines = ["session_id,station_id,evse_id,started_at,ended_at,energy_delivered_kwh,latitude,longitude,time_zone"]
    for day in range(DAYS):
        for number in range(random.poisson(9)):
            start = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day, hours=float(random.normal(9, 1)))
            stay_h = float(random.uniform(1, 8))
            end, energy_kwh = start + timedelta(hours=stay_h), stay_h * random.uniform(1, 4)
            lines.append(
                f"s-{day}-{number},site,E{number % 4},{start:%Y-%m-%dT%H:%M:%SZ},{end:%Y-%m-%dT%H:%M:%SZ},"
                f"{energy_kwh:.3f},40.0,-100.0,UTC"
            )
    file = tmp_path_factory.mktemp("realism") / "sessions.csv"
    file.write_text("\n".join(lines) + "\n")
    return read_sessions(file)


def later(profile: SiteProfile) -> Visits:
    drawn = draw_from_profile(profile)
    return replace(drawn, start_hour=drawn.start_hour + 6)


def row(ours: float, real: float, simulated: float) -> RealismRow:
    names = ("stay_energy_correlation", "start_stay_correlation", "day_count_dispersion")
    distances = dict.fromkeys(("start_hour", "stay", "energy"), (ours, real))
    return RealismRow(
        "A | B", Days.ODD, Score(Days.EVEN, 1234, distances, dict.fromkeys(names, Interval(simulated, 0.1, 0.3)), {})
    )


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.strip().splitlines()]


@pytest.mark.slow
def test_each_half_is_scored_on_the_other(recording: Recording) -> None:
    rows = realism_table([recording])
    assert [(one.fitted, one.score.days) for one in rows] == [(Days.ODD, Days.EVEN), (Days.EVEN, Days.ODD)]
    assert sum(one.score.sessions for one in rows) == recording.session_count
    # the halves are of one distribution: what a fit to one is from the other is what the two are apart, and little more
    for one in rows:
        assert all(ours < real + 0.03 for ours, real in one.score.distances.values()), one.score.distances
        # stays are drawn without a look at the start
        assert one.score.intervals["start_stay_correlation"].inside


@pytest.mark.slow
def test_visits_of_another_source_are_scored_as_they_are(recording: Recording) -> None:
    own, others = realism_table([recording])[0].score, realism_table([recording], draw=later)[0].score
    assert others.distances["start_hour"][0] > 0.9
    assert others.distances["start_hour"][1] == own.distances["start_hour"][1]
    assert others.distances["energy"] == own.distances["energy"]


def test_no_visits_are_an_error(recording: Recording) -> None:
    def nothing(profile: SiteProfile) -> Visits:
        drawn = draw_from_profile(profile)
        return drawn.where(np.zeros(len(drawn), dtype=bool))

    with pytest.raises(UserError, match=r"sessions\.csv: 0 visits were drawn"):
        realism_table([recording], draw=nothing)


def test_the_table_shows_ratios_and_what_is_outside() -> None:
    head, _, *rows = cells(markdown([row(0.06, 0.04, 0.2), row(0.06, 0.0, 0.4)]).replace("\\|", "/"))
    assert tuple(head) == COLUMNS
    assert rows[0][:4] == ["A / B", "odd, even", "1,234", "0.060 / 0.040 / 1.50"]
    assert rows[0][-1] == "0.20 (0.10 to 0.30)"
    assert rows[1][3] == "0.060 / 0.000 / -"
    assert rows[1][-1] == "0.40 (0.10 to 0.30, outside)"


def test_only_what_is_between_the_markers_is_replaced(tmp_path: Path) -> None:
    document = tmp_path / "realism.md"
    document.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    write_table(document, [row(0.06, 0.04, 0.2)])
    once = document.read_text()
    assert once == f"before\n\n{BEGIN}\n{markdown([row(0.06, 0.04, 0.2)])}{END}\n\nafter\n"
    write_table(document, [row(0.06, 0.04, 0.2)])
    assert document.read_text() == once


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}\n{BEGIN}\n"])
def test_a_document_without_the_markers_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    document = tmp_path / "realism.md"
    document.write_text(text)
    with pytest.raises(UserError, match=r"realism\.md: the table belongs between"):
        write_table(document, [row(0.06, 0.04, 0.2)])
    assert document.read_text() == text


def test_a_missing_document_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        write_table(tmp_path / "realism.md", [])


def test_the_document_has_the_code_s_table() -> None:
    _, _, rest = (PROJECT / "docs" / "realism.md").read_text().partition(BEGIN)
    table, end, _ = rest.partition(END)
    assert end
    head, _, *rows = cells(table)
    assert tuple(head) == COLUMNS
    assert rows
    assert all(len(one) == len(COLUMNS) for one in rows)

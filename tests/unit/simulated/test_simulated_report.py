"""The report of a simulation: its figures are right, and the page is one that every browser and reader can use."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from evcharge.errors import UserError
from evcharge.recorded.fitting import Sample
from evcharge.recorded.readers import read_sessions
from evcharge.settings import PROJECT
from evcharge.simulated.report import SESSIONS, RealSite, SimulatedRun, render, write_report
from evcharge.simulated.report.charts import Axis, Chart, reaching
from evcharge.simulated.report.figures import Simulated
from simulation import Simulation, SiteKind, build_fleet, build_network
from simulation.profile import Visits

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
WORK, FAST = "work-1", "fast-1"


def session(station_id: str, evse_id: str, day: int, hour: float, stay_h: float, **fields: Any) -> dict[str, Any]:
    return {
        "station_id": station_id,
        "evse_id": evse_id,
        "local_day": MONDAY.date() + timedelta(days=day),
        "local_start_hour": hour,
        "stay_h": stay_h,
        "energy_kwh": 10.0,
        "queue_wait_s": 0.0,
        "idle_s": 0.0,
        "soc_start_percent": 50.0,
    } | fields


def run(*sessions: dict[str, Any], **changes: Any) -> SimulatedRun:
    """A week at a workplace with three EVSEs and a fast charger with one."""
    values = {
        "sessions": pa.Table.from_pylist(list(sessions), schema=SESSIONS),
        "stations": {WORK: ("workplace", 3, "UTC"), FAST: ("dc_fast", 1, "UTC")},
        "start_at": MONDAY,
        "end_at": MONDAY + timedelta(days=7),
        "seed": 7,
    }
    return SimulatedRun(**(values | changes))


WEEK = run(
    session(WORK, "A", 0, 8.0, 8.0, energy_kwh=30.0, idle_s=4 * 3600.0),
    session(WORK, "A", 1, 8.0, 8.0, energy_kwh=30.0, queue_wait_s=600.0),
    session(WORK, "B", 5, 9.5, 1.0, energy_kwh=20.0),
    session(FAST, "C", 0, 18.0, 0.5, energy_kwh=40.0, queue_wait_s=1200.0),
    abandoned={"dc_fast": 1},
    balked={"dc_fast": 2},
)


def workplaces(of: SimulatedRun) -> Simulated:
    return Simulated("Workplaces", of, (SiteKind.WORKPLACE,), of.sessions)


def real_site(name: str = "Recorded site", kind: SiteKind = SiteKind.WORKPLACE, seed: int = 1) -> RealSite:
    """Some 400 sessions of 60 days, the first of them a Monday."""
    random = np.random.default_rng(seed)
    day = np.sort(random.integers(0, 60, 400))
    stay_h = random.uniform(1, 9, 400)
    visits = Visits(day, random.normal(10, 2, 400), stay_h, stay_h * random.uniform(1, 3, 400), np.full(400, np.nan))
    return RealSite(kind, name, Sample(Path("real.csv"), date(2024, 1, 1), visits, np.arange(60)), 4)


def as_run(site: RealSite) -> SimulatedRun:
    """A simulation that has the sessions of a real site."""
    visits = site.sample.visits
    columns = zip(visits.day, visits.start_hour, visits.stay_h, visits.energy_kwh, strict=True)
    rows = [session(WORK, "A", int(day), hour, stay, energy_kwh=kwh) for day, hour, stay, kwh in columns]
    return run(*rows, stations={WORK: ("workplace", 4, "UTC")}, end_at=MONDAY + timedelta(days=60))


@dataclass
class Table:
    caption: str = ""
    rows: list[list[str]] = field(default_factory=list)

    def row(self, name: str) -> list[str]:
        return next(row for row in self.rows if row[0] == name)


class Page(HTMLParser):
    """What a page has: attributes of its elements, tables, tiles and figures."""

    VOID = frozenset({"meta", "br", "rect", "line", "polyline"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.tables: list[Table] = []
        self.tiles: list[list[str]] = []
        self.figures: dict[str, str] = {}
        self.texts: dict[str, list[str]] = {}
        self._heading = self._section = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")
        if tag == "table":
            self.tables.append(Table())
        elif tag == "tr":
            self.tables[-1].rows.append([])
        elif tag in ("td", "th"):
            self.tables[-1].rows[-1].append("")
        elif tag == "dt":
            self.tiles.append(["", ""])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data
        if "td" in self.open or "th" in self.open:
            self.tables[-1].rows[-1][-1] += data
        elif "caption" in self.open:
            self.tables[-1].caption += data
        elif "dt" in self.open or "dd" in self.open:
            self.tiles[-1]["dd" in self.open] += data
        elif "h2" in self.open:
            self._section = data
        elif "h3" in self.open:
            self._heading = f"{self._section}: {data}"
        elif "figcaption" in self.open:
            self.figures[self._heading] = self.figures.get(self._heading, "") + data

    def table(self, caption: str) -> Table:
        return next(table for table in self.tables if table.caption.startswith(caption))

    def tile(self, name: str) -> str:
        return " ".join(next(text for title, text in self.tiles if title == name).split())


def test_the_key_figures_are_those_of_the_sessions() -> None:
    page = Page(render(WEEK))
    assert page.tile("Sessions") == "4 0.14 per EVSE and day"
    assert page.tile("Energy") == "120 kWh 30.0 kWh per session"
    # 17.5 of 4 x 168 hours; four of them idle
    assert page.tile("Utilisation") == "2.6 % of EVSE time plugged in, 2.0 % charging"
    # two sessions and the one that gave up, of seven visits
    assert page.tile("Visits that waited") == "42.9 % 1 gave up, 2 left at once"
    assert page.tile("Wait, median").startswith("15.0 min")
    # A has given 60 of 120 kWh
    assert page.tile("Half the energy") == "25.0 % of the EVSEs give it"


def test_kinds_of_site_are_told_apart() -> None:
    kinds = Page(render(WEEK)).table("By kind of site")
    assert kinds.row("Workplaces")[1:] == (
        ["1", "3", "3", "0.14", "80", "3.4 %", "2.6 %", "33.3 %", "10.0 min", "10.0 min", "0", "0", "33.3 %"]
    )
    assert kinds.row("DC fast")[8:13] == ["50.0 %", "20.0 min", "20.0 min", "1", "2"]
    assert [row[0] for row in kinds.rows[1:]] == ["Workplaces", "DC fast", "All sites"]


def test_occupancy_is_the_share_of_evses_in_local_hours() -> None:
    # Monday 08:00 to 16:00 and Saturday 09:30 to 10:30, of three EVSEs
    occupancy = workplaces(WEEK).occupancy
    assert occupancy[8:16] == pytest.approx([1 / 3] * 8)
    assert occupancy[[7, 16]] == pytest.approx([0.0, 0.0])
    assert occupancy[5 * 24 + 9 : 5 * 24 + 11] == pytest.approx([1 / 6, 1 / 6])


def test_occupancy_knows_which_local_hours_were_simulated() -> None:
    """From Sunday 16:00 to Monday 04:00 in New York."""
    simulated = run(
        session(WORK, "A", -1, 23.0, 2.0),
        stations={WORK: ("workplace", 2, "America/New_York")},
        start_at=MONDAY - timedelta(hours=3),
        end_at=MONDAY + timedelta(hours=9),
    )
    occupancy = workplaces(simulated).occupancy
    known = np.flatnonzero(~np.isnan(occupancy))
    assert list(known) == [*range(4), *range(160, 168)]
    assert occupancy[[167, 0, 1]] == pytest.approx([0.5, 0.5, 0.0])


def test_dispersion_is_carried_over_to_a_site_of_another_size() -> None:
    random = np.random.default_rng(5)
    stations, weeks, mean, variance = 30, 20, 3.0, 0.25
    factors = random.gamma(1 / variance, variance, (stations, 7 * weeks))
    counts = random.poisson(mean * factors)
    rows = [
        session(f"S{station}", "E", day, 12.0, 0.1)
        for (station, day), count in np.ndenumerate(counts)
        for _ in range(count)
    ]
    simulated = run(
        *rows,
        stations={f"S{station}": ("workplace", 1, "UTC") for station in range(stations)},
        end_at=MONDAY + timedelta(weeks=weeks),
    )
    # negative binomial: 1 + variance * mean, of the station as of a busier one
    assert workplaces(simulated).dispersion(mean) == pytest.approx(1.75, abs=0.1)
    assert workplaces(simulated).dispersion(40.0) == pytest.approx(11.0, abs=1.3)
    assert np.isnan(workplaces(replace(simulated, end_at=MONDAY + timedelta(days=6))).dispersion(mean))


@pytest.mark.slow
def test_sessions_that_are_the_real_ones_are_nowhere_apart() -> None:
    site = real_site()
    page = Page(render(as_run(site), [site]))
    assert any("(sessions on 60 of 60 days, 4 EVSEs)" in " ".join(text.split()) for text in page.texts["p"])
    distances = page.table("How near the simulation is")
    for name in ("Start hour", "Stay", "Energy"):
        assert distances.row(name)[1] == "0.000"
        assert 0 < float(distances.row(name)[2]) < 0.2
        assert distances.row(name)[3] == "0.0"
    statistics = page.table("Statistics")
    assert [row[0] for row in statistics.rows[1:] if row[3] == "yes"] == [
        "Rank correlation of stay and energy",
        "Rank correlation of start hour and stay",
        "Variance over mean of a day's sessions",
    ]
    assert "KS distance 0.000; odd and even real days are" in page.figures["Workplaces: Start hour, weekdays"]
    assert "Mean absolute difference 0.0 percentage points" in page.figures["Workplaces: Occupancy over the week"]
    quantiles = page.table("Quantiles")
    assert quantiles.rows[1][2:] == quantiles.rows[2][2:]


def test_without_a_recording_the_simulation_stands_alone() -> None:
    page = Page(render(WEEK, [real_site()]))
    assert [text for text in page.texts["p"] if "the simulation alone" in text] == [
        "No recorded sessions to compare with: the simulation alone."
    ]
    assert page.figures["DC fast: Stay"].strip() == "Median 30 min."
    assert "simulated" not in page.figures["DC fast: Start hour, weekdays"].replace("1 simulated sessions", "")
    # three simulated sessions have no distribution
    assert any("Too few simulated sessions to compare" in text for text in page.texts["p"])


def test_a_recording_of_a_kind_without_sessions_is_not_lost() -> None:
    page = Page(render(WEEK, [real_site("Homes", SiteKind.RESIDENTIAL)]))
    assert any("could be compared with Homes (residential)" in text for text in page.texts["p"])


@pytest.mark.slow
def test_the_page_needs_nothing_from_elsewhere() -> None:
    text = render(as_run(real_site()), [real_site()])
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert not [
        value for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href")
    ]
    assert not re.search(r"@import|url\(|https?://", text)


@pytest.mark.slow
def test_the_page_can_be_read_aloud() -> None:
    page = Page(render(as_run(real_site()), [real_site()]))
    assert page.open == []
    html = next(attributes for tag, attributes in page.elements if tag == "html")
    assert html["lang"] == "en"
    assert page.texts["title"][0].startswith("Simulated charging, 2026-11-02")
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.elements:
        for name in (attributes.get("aria-labelledby") or "").split():
            assert name in ids
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes.get("role") == "img"
        if tag == "th":
            assert attributes["scope"] in ("col", "row")
    assert sum(attributes.get("role") == "img" for tag, attributes in page.elements if tag == "svg") == 7
    assert all(table.caption for table in page.tables)


@pytest.mark.slow
def test_names_are_text_and_not_markup() -> None:
    site = real_site("<script>alert(1)</script> & Söhne")
    page = Page(render(as_run(site), [site]))
    assert "script" not in page.texts
    assert "real: <script>alert(1)</script> & Söhne" in page.texts["li"]


@pytest.mark.slow
def test_the_events_of_a_simulation_become_a_report(tmp_path: Path) -> None:
    network = build_network(12, seed=7)
    simulation = Simulation(network, build_fleet(network, 150, 7), seed=7, start_at=MONDAY)
    stations = {one.station_id: one for one in network.stations}
    rows = []
    for event in simulation.advance(until=MONDAY + timedelta(days=1)).rows():
        if event["event_type"] == "stopped":
            local = event["started_at"].astimezone(ZoneInfo(stations[event["station_id"]].time_zone))
            rows.append(
                {
                    "station_id": event["station_id"],
                    "evse_id": event["evse_id"],
                    "local_day": local.date(),
                    "local_start_hour": local.hour + local.minute / 60,
                    "stay_h": (event["occurred_at"] - event["started_at"]).total_seconds() / 3600,
                    "energy_kwh": event["energy_delivered_kwh"],
                    "queue_wait_s": float(event["queue_wait_s"] or 0),
                    "idle_s": float(event["idle_s"] or 0),
                    "soc_start_percent": event["state_of_charge_start"],
                }
            )
    facts = {name: (one.site_kind.value, len(one.evses), one.time_zone) for name, one in stations.items()}
    simulated = run(*rows, stations=facts, end_at=MONDAY + timedelta(days=1))
    site = RealSite.of(SiteKind.WORKPLACE, read_sessions(PROJECT / "examples" / "sessions-acn.csv"))
    file = tmp_path / "report.html"
    write_report(file, simulated, [site])
    page = Page(file.read_text(encoding="utf-8"))
    assert page.tile("Sessions").startswith(f"{simulation.totals.sessions:,} ")
    assert page.tile("Energy").startswith(f"{simulation.totals.energy_kwh:,.0f} kWh")
    # 24 recorded sessions have no odd and even days, so there is no yardstick
    assert page.table("How near the simulation is").row("Stay")[2:] == ["-", "-"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (run(), "no simulated session to report"),
        (run(session("gone", "A", 0, 8.0, 1.0)), "row 1, column station_id: gone is impossible"),
        (
            run(session(WORK, "A", 0, 8.0, 1.0), session(WORK, "A", 0, 8.0, -1.0)),
            "row 2, column stay_h: -1.0 is impossible",
        ),
        (run(session(WORK, "A", 0, 8.0, 1.0, energy_kwh=None)), "row 1, column energy_kwh: None is impossible"),
        (
            run(session(WORK, "A", 0, 8.0, 1.0, soc_start_percent=float("nan"))),
            "row 1, column soc_start_percent: nan is impossible",
        ),
        (replace(WEEK, sessions=WEEK.sessions.drop_columns(["idle_s"])), "the column idle_s is missing"),
        (
            replace(WEEK, sessions=WEEK.sessions.set_column(4, "stay_h", pa.array(["long"] * 4))),
            "column stay_h: not double",
        ),
        (replace(WEEK, end_at=MONDAY), "the end must be after the start"),
        (replace(WEEK, stations={WORK: ("beach", 1, "UTC")}), "stations of the kind 'beach'"),
        (replace(WEEK, stations={WORK: ("workplace", 0, "UTC")}), "station work-1 has no EVSE"),
    ],
)
def test_wrong_input_is_reported_in_one_line(wrong: SimulatedRun, said: str) -> None:
    with pytest.raises(UserError) as raised:
        render(wrong)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_two_recordings_of_one_kind_are_an_error() -> None:
    with pytest.raises(UserError, match="two recordings of one kind of site"):
        render(WEEK, [real_site("one"), real_site("two")])


def test_a_recording_of_several_sites_is_an_error() -> None:
    with pytest.raises(UserError, match="sessions of 2 sites; give a recording of one"):
        RealSite.of(SiteKind.PUBLIC, read_sessions(PROJECT / "examples" / "sessions-generic.csv"))


def test_an_unwritable_page_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        write_report(tmp_path / "nowhere" / "report.html", WEEK)


def test_missing_states_of_charge_have_no_picture() -> None:
    page = Page(render(run(session(WORK, "A", 0, 8.0, 1.0, soc_start_percent=None))))
    assert "Workplaces: Stay" in page.figures
    assert "Workplaces: State of charge at arrival" not in page.figures


@pytest.mark.parametrize(("high", "end"), [(0.0, 1.0), (0.7, 0.8), (23.0, 25.0), (101.0, 150.0), (1.0, 1.0)])
def test_axes_end_with_a_round_tick(high: float, end: float) -> None:
    assert reaching(high) == pytest.approx(end)
    ticks = Axis.of("kWh", reaching(high)).ticks
    assert ticks[-1][0] == pytest.approx(end)
    assert 3 <= len(ticks) <= 7


def test_an_empirical_distribution_is_drawn_up_to_the_end_of_its_axis() -> None:
    chart = Chart("c", "title", "description", Axis.of("h", 10), Axis.of("%", 100))
    chart.distribution("simulated", np.array([2.0, 4.0, 6.0, 40.0]))
    points = next(attributes["points"] for tag, attributes in Page(chart.svg()).elements if tag == "polyline")
    assert points is not None
    xs, ys = zip(*(map(float, point.split(",")) for point in points.split()), strict=True)
    # 380 by 230 with margins of 40, 10, 24 and 38: 33 per hour, 1.68 per percent, from the bottom at 192
    assert max(xs) == pytest.approx(370.0)
    assert min(ys) == pytest.approx(192 - 75 * 1.68, abs=0.1)
    assert list(xs) == sorted(xs)

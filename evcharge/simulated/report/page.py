"""A simulation as one HTML page: key figures, and the sessions of each kind of site beside recorded ones.

The page is a single file. It loads no scripts, no fonts and nothing else from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from evcharge.errors import UserError
from evcharge.simulated.report.figures import Simulated
from evcharge.simulated.report.inputs import RealSite, SimulatedRun, checked
from evcharge.simulated.report.sections import Section
from simulation.network import SiteKind

_KIND_NAMES = {
    SiteKind.WORKPLACE: "Workplaces",
    SiteKind.PUBLIC: "Public AC",
    SiteKind.RESIDENTIAL: "Residential",
    SiteKind.DC_FAST: "DC fast",
}
_STATISTIC_NAMES = {
    "stay_energy_correlation": "Rank correlation of stay and energy",
    "start_stay_correlation": "Rank correlation of start hour and stay",
    "day_count_dispersion": "Variance over mean of a day's sessions",
}


def write_report(path: Path, run: SimulatedRun, real: Sequence[RealSite] = ()) -> None:
    """Writes the page. Raises UserError if sessions are missing or wrong, or the file cannot be written."""
    page = render(run, real)
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error


def render(run: SimulatedRun, real: Sequence[RealSite] = ()) -> str:
    """The page as text. Raises UserError that names row and column if the sessions do not match `SimulatedRun`."""
    sessions = checked(run)
    station_kinds = np.array([kind for kind, _, _ in run.stations.values()])
    station = pc.index_in(sessions["station_id"], value_set=pa.array(list(run.stations))).to_numpy()
    total = Simulated("All sites", run, tuple(SiteKind), sessions)
    kinds = [
        Simulated(_KIND_NAMES[kind], run, (kind,), sessions.filter(pa.array(station_kinds[station] == kind.value)))
        for kind in SiteKind
        if kind.value in station_kinds
    ]
    compared = {site.site_kind: site for site in real}
    if len(compared) < len(real):
        raise UserError("two recordings of one kind of site: give one recording for each kind")
    seen = [simulated for simulated in kinds if len(simulated.visits)]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "percent": _percent, "duration": _duration}
    return environment.get_template("page.html").render(
        start_at=run.start_at.astimezone(UTC),
        end_at=run.end_at.astimezone(UTC),
        seed=run.seed,
        statistics=_STATISTIC_NAMES,
        days=(run.end_at - run.start_at) / timedelta(days=1),
        total=total,
        kinds=kinds,
        sections=[Section(simulated, compared.get(simulated.kinds[0])) for simulated in seen],
        uncompared=[site for kind, site in compared.items() if kind not in {one.kinds[0] for one in seen}],
    )


def _number(value: float, digits: int = 0) -> str:
    return "-" if np.isnan(value) else f"{value:,.{digits}f}"


def _percent(share: float, digits: int = 1) -> str:
    return "-" if np.isnan(share) else f"{share * 100:.{digits}f} %"


def _duration(seconds: float) -> str:
    return "-" if np.isnan(seconds) else f"{seconds / 60:.1f} min"

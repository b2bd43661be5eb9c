"""One kind of site in the page: its charts and tables, beside those of a recorded site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from evcharge.errors import UserError
from evcharge.recorded.fitting import Days, Sample, Score, compare
from evcharge.simulated.report.charts import Axis, Chart, reaching
from evcharge.simulated.report.figures import WEEK_H, Simulated, real_occupancy
from evcharge.simulated.report.inputs import RealSite
from simulation.comparison import ks_distance
from simulation.profile import Floats

_HOURS = np.arange(25.0)
_HOUR_TICKS = tuple((float(hour), f"{hour}") for hour in range(0, 25, 4))
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WEEKDAY_TICKS = tuple((24.0 * number + 12, name) for number, name in enumerate(_WEEKDAYS))
# Fewer sessions have no distribution worth comparing.
_LEAST_COMPARED = 20
# Stays are shown in minutes where nearly all are shorter.
_SHORT_STAY_H = 3.0
_UNKNOWN = float("nan")


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart (empty if there is nothing to draw) and the note below it."""

    title: str
    svg: str
    note: str


class Section:
    """One kind of site: its charts and tables, beside those of a recorded site if there is one."""

    def __init__(self, simulated: Simulated, real: RealSite | None) -> None:
        self.simulated, self.real = simulated, real
        self.name = simulated.name
        self.anchor = simulated.kinds[0].value
        self._halves = None if real is None else _halves(real.sample)
        self._weekdays = None if real is None else real.sample.weekday(real.sample.visits.day)

    @cached_property
    def score(self) -> Score | None:
        """The score against all recorded days. The yardstick is the distance between odd and even days."""
        if self.real is None or self.simulated.sessions < _LEAST_COMPARED:
            return None
        sample = self.real.sample
        visits_per_day = float(sample.counts.mean())
        return compare(self.simulated.visits, self.simulated.dispersion(visits_per_day), sample, Days.ALL, self._halves)

    @property
    def figures(self) -> list[Figure]:
        """The charts, in the order of a visit."""
        return [
            self._starts(weekend=False),
            self._starts(weekend=True),
            self._stay(),
            self._distribution("energy", "Energy", "kWh", *self._both("energy_kwh")),
            *self._soc(),
            self._occupancy(),
            *self._queue(),
            *self._busiest(),
        ]

    @property
    def quantiles(self) -> list[tuple[str, list[float], list[float] | None]]:
        """Quantity and its 5, 25, 50, 75 and 95 % quantiles: simulated, real."""
        levels = (0.05, 0.25, 0.5, 0.75, 0.95)
        columns = {"Start hour (local)": "start_hour", "Stay (h)": "stay_h", "Energy (kWh)": "energy_kwh"}
        return [
            (
                name,
                [float(value) for value in np.quantile(getattr(self.simulated.visits, column), levels)],
                None
                if self.real is None
                else [float(value) for value in np.quantile(getattr(self.real.sample.visits, column), levels)],
            )
            for name, column in columns.items()
        ]

    def _starts(self, weekend: bool) -> Figure:
        ours = self.simulated.visits.start_hour[self.simulated.on(weekend)]
        real = self._real_starts(weekend)
        when = "weekend days" if weekend else "weekdays"
        title = f"Start hour, {when}"
        if not len(ours):
            return Figure(title, "", f"No session was simulated on {when}.")
        shares = [_hourly_percent(ours), *([] if real is None else [_hourly_percent(real)])]
        high = reaching(max(float(share.max()) for share in shares))
        chart = Chart(
            f"{self.anchor}-start-{'weekend' if weekend else 'weekday'}",
            f"{self.name}: {title.lower()}",
            f"Most simulated sessions start at {int(shares[0].argmax()):02}:00"
            + ("." if real is None else f", most real ones at {int(shares[1].argmax()):02}:00."),
            Axis("local hour", 0, 24, _HOUR_TICKS),
            Axis.of("% of sessions", high),
        )
        chart.bars("simulated", _HOURS, shares[0])
        if real is not None:
            chart.steps("real", _HOURS, shares[1])
        chart.hints(_HOURS, [_hour_text(hour, [share[hour] for share in shares]) for hour in range(24)])
        nearness = ""
        if real is not None and min(len(ours), len(real)) >= _LEAST_COMPARED:
            nearness = _nearness(ks_distance(ours, real), self._halves_apart(weekend))
        return Figure(title, chart.svg(), f"{_counts(ours, real)}. {nearness}")

    def _real_starts(self, weekend: bool) -> Floats | None:
        if self.real is None or self._weekdays is None:
            return None
        starts: Floats = self.real.sample.visits.start_hour[(self._weekdays >= 5) == weekend]
        return starts if len(starts) else None

    def _busiest(self) -> list[Figure]:
        """The energy of the busiest EVSEs. Recordings have one site, so only the simulation is shown."""
        shares = self.simulated.energy_shares
        if not len(shares):
            return []
        summary = f"{self.simulated.half_the_energy * 100:.1f} % of the EVSEs give half of the energy."
        chart = Chart(
            f"{self.anchor}-busiest",
            f"{self.name}: energy of the busiest EVSEs",
            summary,
            Axis.of("% of EVSEs, the busiest first", 100),
            Axis.of("% of the energy", 100),
        )
        numbers = np.unique(np.linspace(0, len(shares), 200).astype(np.int64))
        chart.curve("simulated", numbers / len(shares) * 100, np.append(0.0, shares)[numbers] * 100)
        return [Figure("Energy by EVSE", chart.svg(), summary)]

    def _halves_apart(self, weekend: bool) -> float:
        """KS distance of the start hours of odd and even real days, nan if they are too few."""
        if self._halves is None:
            return _UNKNOWN
        odd, even = (half.visits.start_hour[(half.weekday(half.visits.day) >= 5) == weekend] for half in self._halves)
        return ks_distance(odd, even) if min(len(odd), len(even)) >= _LEAST_COMPARED else _UNKNOWN

    def _both(self, column: str) -> tuple[Floats, Floats | None]:
        """The known values of a column, of the simulated and of the real visits."""
        ours: Floats = getattr(self.simulated.visits, column)
        if self.real is None:
            return ours[~np.isnan(ours)], None
        real: Floats = getattr(self.real.sample.visits, column)
        real = real[~np.isnan(real)]
        return ours[~np.isnan(ours)], real if len(real) else None

    def _stay(self) -> Figure:
        ours, real = self._both("stay_h")
        if np.quantile(ours, 0.95) <= _SHORT_STAY_H:
            return self._distribution("stay", "Stay", "min", ours * 60, None if real is None else real * 60)
        return self._distribution("stay", "Stay", "h", ours, real)

    def _soc(self) -> list[Figure]:
        ours, real = self._both("soc_percent")
        if not len(ours):
            return []
        return [self._distribution("soc", "State of charge at arrival", "%", ours, real, high=100.0)]

    def _distribution(
        self, name: str, title: str, unit: str, ours: Floats, real: Floats | None, high: float | None = None
    ) -> Figure:
        both = [ours, *([] if real is None else [real])]
        medians = _values_text([float(np.median(values)) for values in both], unit)
        high = high or reaching(max(float(np.quantile(values, 0.99)) for values in both))
        chart = Chart(
            f"{self.anchor}-{name}",
            f"{self.name}: {title.lower()}",
            f"Empirical distribution of sessions. Median {medians}.",
            Axis.of(f"{title.lower()}, {unit}", high),
            Axis.of("% of sessions below", 100),
        )
        chart.distribution("simulated", ours)
        nearness = ""
        if real is not None:
            chart.distribution("real", real)
            if min(len(ours), len(real)) >= _LEAST_COMPARED:
                nearness = _nearness(ks_distance(ours, real), self._yardstick(name))
        return Figure(title, chart.svg(), f"Median {medians}. {nearness}")

    def _yardstick(self, name: str) -> float:
        """KS distance of odd and even real days."""
        return self.score.distances[name][1] if self.score and name in self.score.distances else _UNKNOWN

    def _occupancy(self) -> Figure:
        ours = self.simulated.occupancy * 100
        real = None
        if self.real is not None and self.real.evses:
            real = real_occupancy(self.real) * 100
        shares = [ours, *([] if real is None else [real])]
        edges = np.arange(WEEK_H + 1.0)
        chart = Chart(
            f"{self.anchor}-occupancy",
            f"{self.name}: occupancy over the local week",
            f"Share of EVSEs plugged in, at most {_values_text([float(np.nanmax(share)) for share in shares], '%')}.",
            Axis("local weekday", 0, WEEK_H, _WEEKDAY_TICKS),
            Axis.of("% of EVSEs plugged in", reaching(max(float(np.nanmax(share)) for share in shares))),
        )
        for series, share in zip(("simulated", "real"), shares, strict=False):
            known = ~np.isnan(share)
            chart.curve(series, edges[:-1][known] + 0.5, share[known])
        chart.hints(
            edges,
            [
                f"{_WEEKDAYS[hour // 24]} {_hour_text(hour % 24, [share[hour] for share in shares])}"
                for hour in range(WEEK_H)
            ],
        )
        note = f"Mean {_values_text([float(np.nanmean(share)) for share in shares], '%')}."
        if real is not None:
            note += f" Mean absolute difference {np.nanmean(np.abs(ours - real)):.1f} percentage points."
        elif self.real is not None:
            note += " The recording does not say how many EVSEs there are."
        return Figure("Occupancy over the week", chart.svg(), note)

    def _queue(self) -> list[Figure]:
        """The queue. Recordings have none, so only the simulation is shown."""
        waited = self.simulated.wait_s > 0
        if not waited.any():
            return [Figure("Queue", "", "No simulated session waited for a free EVSE.")]
        hours = self.simulated.visits.start_hour.astype(np.int64) % 24
        sessions = np.bincount(hours, minlength=24)
        waiting = np.bincount(hours[waited], minlength=24)
        share = np.divide(waiting * 100.0, sessions, out=np.zeros(24), where=sessions > 0)
        by_hour = Chart(
            f"{self.anchor}-queue",
            f"{self.name}: sessions that waited, by hour of the start",
            f"Most wait at {int(share.argmax()):02}:00: {share.max():.1f} % of the sessions that start then.",
            Axis("local hour of the start", 0, 24, _HOUR_TICKS),
            Axis.of("% of sessions that waited", reaching(float(share.max()))),
        )
        by_hour.bars("simulated", _HOURS, share)
        by_hour.hints(_HOURS, [_hour_text(hour, [share[hour]]) for hour in range(24)])
        waits_min = self.simulated.wait_s[waited] / 60
        distribution = Chart(
            f"{self.anchor}-wait",
            f"{self.name}: wait of those that waited",
            f"Half of them wait less than {np.median(waits_min):.2g} minutes.",
            Axis.of("minutes waited", reaching(float(np.quantile(waits_min, 0.99)))),
            Axis.of("% of waits below", 100),
        )
        distribution.distribution("simulated", waits_min)
        alone = "" if self.real is None else " The recording has no queue."
        return [
            Figure("Queue by hour", by_hour.svg(), f"{waited.sum():,} sessions waited.{alone}"),
            Figure(
                "Wait for a free EVSE",
                distribution.svg(),
                f"Median {np.median(waits_min):.1f} min, 95 % below {np.quantile(waits_min, 0.95):.1f} min.{alone}",
            ),
        ]


def _halves(sample: Sample) -> tuple[Sample, Sample] | None:
    """Odd and even days; None if one has too few sessions for a distance."""
    try:
        return sample.on(Days.ODD), sample.on(Days.EVEN)
    except UserError:
        return None


def _hourly_percent(hours: Floats) -> Floats:
    shares: Floats = np.bincount(hours.astype(np.int64) % 24, minlength=24) / len(hours) * 100
    return shares


def _nearness(ours: float, real: float) -> str:
    yardstick = "" if np.isnan(real) else f"; odd and even real days are {real:.3f} apart"
    return f"KS distance {ours:.3f}{yardstick}."


def _values_text(values: Sequence[float], unit: str) -> str:
    """The value of the simulated sessions, and of the real ones if there is one."""
    series = ("simulated", "real") if len(values) > 1 else ("",)
    return ", ".join(f"{value:.3g} {unit} {name}".rstrip() for name, value in zip(series, values, strict=True))


def _hour_text(hour: int, shares: Sequence[float]) -> str:
    texts = ", ".join(f"{name} {share:.1f} %" for name, share in zip(("simulated", "real"), shares, strict=False))
    return f"{hour:02}:00 to {hour + 1:02}:00: {texts}"


def _counts(ours: Floats, real: Floats | None) -> str:
    return f"{len(ours):,} simulated" + ("" if real is None else f", {len(real):,} real") + " sessions"

"""A site's demand as parameters that were fitted to its sessions: when cars come, how long they stay, what they take.

Arrivals are a Poisson process whose rate follows the local week. No two Mondays are the same, so the rate of each day is
multiplied by a gamma-distributed factor of mean 1 and variance `day_variance`; the counts of days are then negative
binomial. Where the same few cars come every day, days differ less than by chance. `day_variance` is then below 0 and the
counts of days are binomial. A site that closes has days without any visit, which no such factor gives: each day is one of them
with the chance `closed_share`.

Start, stay and energy each have their own distribution, as a quantile function. Tables of counts say how their ranks go
together (a checkerboard copula: Nelsen, An Introduction to Copulas, 2006). So each quantity keeps its distribution, whatever
a table smooths. A profile holds no row of the data that it was fitted to.

Hours are local, 0 to 24; stays are hours, energies kWh, states of charge percent. Pure: numpy alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache, cached_property
from importlib.resources import files
from itertools import pairwise
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PROFILE_VERSION = 2
_HOUR_S, _DAY_S = 3600, 86_400
#: Profiles that come with the package; the `source` of each says where it is from.
SHIPPED = ("campus", "dc_fast", "public", "residential")
WEEKDAYS, WEEKEND = "weekdays", "weekend"


class ProfileError(ValueError):
    """A profile that cannot be used. The message names the field that is wrong."""


@dataclass(frozen=True)
class Distribution:
    """A quantity: `knots` are its quantiles at `levels`, both in rising order. Between two knots it is uniform.

    A value that comes often is two equal knots; the distance between their levels is its probability. Without `levels`, n
    knots are at the levels (i + 0.5) / n.
    """

    knots: tuple[float, ...]
    levels: tuple[float, ...] = ()

    def at(self, levels: Floats) -> Floats:
        """The quantiles at `levels` (0 to 1), in the shape of `levels`."""
        quantiles: Floats = np.interp(levels, *self._line)
        return quantiles

    def levels_at(self, quantities: Floats) -> Floats:
        """The levels of `quantities` (which share is below), in the shape of `quantities`."""
        levels, knots = self._line
        shares: Floats = np.interp(quantities, knots, levels, left=0.0, right=1.0)
        return shares

    @cached_property
    def _line(self) -> tuple[Floats, Floats]:
        count = len(self.knots)
        return np.array(self.levels or (np.arange(count) + 0.5) / count), np.array(self.knots)


@dataclass(frozen=True)
class Copula:
    """How the ranks of two quantities go together: one is given, the other one is drawn.

    `counts[i][j]` is the weight of the case that the given quantity is in the i-th equal part of its ranks and the drawn
    quantity is in the j-th equal part of its own. Within a part all ranks are equally likely.
    """

    counts: tuple[tuple[float, ...], ...]

    def draw(self, given: Floats, random: np.random.Generator) -> Floats:
        """A level (0 to 1) for each level of `given` (any one-dimensional shape)."""
        return self.at(given, random.random(len(given)), random.random(len(given)))

    def at(self, given: Floats, column: Floats, within: Floats) -> Floats:
        """As `draw`, with uniforms in the shape of `given`: `column` chooses a part of the ranks, `within` the place in it."""
        rows, columns = len(self.counts), len(self.counts[0])
        row = np.minimum((given * rows).astype(np.int64), rows - 1)
        chosen = np.searchsorted(self._line, row + column, side="right") - row * columns
        drawn: Floats = (np.minimum(chosen, columns - 1) + within) / columns
        return drawn

    @cached_property
    def _line(self) -> Floats:
        """The cumulated shares of all rows, each row 1 above the row before, so that a single search serves all rows."""
        below = np.cumsum(np.array(self.counts, dtype=float), axis=1)
        # A draw can come to a row without counts only by chance, at its edge; 1e-300 avoids a division by zero there.
        line: Floats = (below / np.maximum(below[:, -1:], 1e-300) + np.arange(len(below))[:, None]).ravel()
        return line


INDEPENDENT = Copula(((1.0,),))


@dataclass(frozen=True, slots=True)
class Conditional:
    """A quantity given another: `distributions[i]` holds where the other quantity is `given[i]`, in rising order.

    Between two given values a draw is from either distribution, more likely from the nearer one. So the whole keeps the
    distribution of the data; an average of quantiles would narrow it.
    """

    given: tuple[float, ...]
    distributions: tuple[Distribution, ...]

    def draw(self, given: Floats, random: np.random.Generator) -> Floats:
        """A draw for each of `given` (any one-dimensional shape)."""
        drawn = np.empty(len(given))
        chosen = self._choose(given, random.random(len(given)))
        levels = random.random(len(given))
        for number in np.unique(chosen):
            here = chosen == number
            drawn[here] = self.distributions[number].at(levels[here])
        return drawn

    def _choose(self, given: Floats, levels: Floats) -> NDArray[np.intp]:
        centres = np.array(self.given)
        if len(centres) == 1:
            return np.zeros(len(given), dtype=np.intp)
        lower = np.clip(np.searchsorted(centres, given) - 1, 0, len(centres) - 2)
        width = centres[lower + 1] - centres[lower]
        weight = np.where(width > 0, (given - centres[lower]) / np.where(width > 0, width, 1.0), 0.5)
        return lower + (levels < np.clip(weight, 0.0, 1.0))


@dataclass(frozen=True, slots=True)
class DayKind:
    """What weekdays, or the days of the weekend, have in common.

    The rank of a stay is drawn given the rank of the start. The rank of an energy is drawn given the rank of the stay, with
    one table for each equal part of the starts.
    """

    start: Distribution
    stay: Distribution
    energy: Distribution
    stay_by_start: Copula = INDEPENDENT
    energy_by_stay: tuple[Copula, ...] = (INDEPENDENT,)


@dataclass(frozen=True, slots=True)
class Visits:
    """Arrivals, in arrays of shape (n,): day (0 is the first), local start hour, stay (h), energy (kWh).

    Drawn hours are whole seconds and drawn energies whole Wh, as in recordings. `soc_percent` is the state of charge at
    arrival, nan where it is not known.
    """

    day: NDArray[np.int64]
    start_hour: Floats
    stay_h: Floats
    energy_kwh: Floats
    soc_percent: Floats

    def __len__(self) -> int:
        return len(self.day)

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Visits:
        """The chosen visits: by a mask, or by their numbers in the order of those."""
        return Visits(*(getattr(self, column.name)[chosen] for column in fields(self)))


@dataclass(frozen=True, slots=True)
class SiteProfile:
    """Demand at one site, and the site itself: `evses` EVSEs of `power_kw` with a connector of `connector_type`.

    `visits` is the mean number of visits of each weekday on which the site is open, Monday first. `sessions` is how many
    sessions the profile was fitted to (0: it was made from figures), `source` where they are from. `site_power_kw` is what all
    EVSEs share, None where each has its own.
    """

    source: str
    sessions: int
    time_zone: str
    evses: int
    power_kw: float
    connector_type: str
    visits: tuple[float, ...]
    day_variance: float
    kinds: dict[str, DayKind]
    soc: Conditional | None = None
    site_power_kw: float | None = None
    closed_share: float = field(default=0.0, repr=False)

    def draw(self, seed: int, days: int, first_weekday: int = 0) -> Visits:
        """The visits of `days` days in time order, the same for the same seed. The first is a `first_weekday` (0: Monday)."""
        return self._visits((np.arange(days) + first_weekday) % 7, np.random.default_rng(seed))

    def visits_on(self, weekday: int, random: np.random.Generator) -> Visits:
        """The visits of one `weekday` (0: Monday) in the order of their starts, all of day 0, distributed as in `draw`.

        With a generator of its own for each site and day, a day is the same whatever was drawn before.
        """
        return self._visits(np.array([weekday]), random)

    def _visits(self, weekdays: NDArray[np.int64], random: np.random.Generator) -> Visits:
        """The visits of days in time order, by their weekdays."""
        day = np.repeat(np.arange(len(weekdays)), self._counts(np.array(self.visits)[weekdays], random))
        start, stay, energy = (np.empty(len(day)) for _ in range(3))
        for name, kind in self.kinds.items():
            of_kind = np.flatnonzero((weekdays[day] >= 5) == (name == WEEKEND))
            start[of_kind], stay[of_kind], energy[of_kind] = _draw_kind(kind, len(of_kind), random)
        soc = np.full(len(day), np.nan) if self.soc is None else self.soc.draw(energy, random)
        return Visits(day, start, stay, energy, soc).where(np.lexsort((start, day)))

    def _counts(self, means: Floats, random: np.random.Generator) -> NDArray[np.int64]:
        if self.closed_share:
            means = np.where(random.random(len(means)) < self.closed_share, 0.0, means)
        if self.day_variance > 0:
            return random.poisson(means * random.gamma(1 / self.day_variance, self.day_variance, len(means)))
        if self.day_variance < 0:
            # The number of cars is one of the two whole numbers around -1 / day_variance, drawn so that the mean of its
            # inverse is -day_variance.
            fewer = floor(-1 / self.day_variance)
            more = fewer + 1
            share = (-self.day_variance - 1 / more) * fewer * more
            cars = np.maximum(np.where(random.random(len(means)) < share, fewer, more), np.ceil(means)).astype(np.int64)
            return random.binomial(cars, means / cars)
        return random.poisson(means)

    def hourly_visits(self) -> list[float]:
        """Mean visits of the 168 hours of a local week, Monday first, over open and closed days."""
        shares = {name: np.diff(kind.start.levels_at(np.arange(25.0))) for name, kind in self.kinds.items()}
        days = [shares.get(WEEKEND if weekday >= 5 else WEEKDAYS) for weekday in range(7)]
        return [
            (1 - self.closed_share) * mean * float(share)
            for mean, day in zip(self.visits, days, strict=True)
            for share in (np.zeros(24) if day is None else day)
        ]

    def visit_at(self, weekday: int, start_hour: float, u: Sequence[float]) -> tuple[float, float]:
        """Stay (h) and energy (kWh) of a visit, by its weekday (0: Monday), local start hour (0 to 24) and four uniforms."""
        kind = self.kinds.get(WEEKEND if weekday >= 5 else WEEKDAYS) or next(iter(self.kinds.values()))
        start = kind.start.levels_at(np.array([start_hour]))
        stay = kind.stay_by_start.at(start, *np.array(u[:2])[:, None])
        part = min(int(start[0] * len(kind.energy_by_stay)), len(kind.energy_by_stay) - 1)
        energy = kind.energy_by_stay[part].at(stay, *np.array(u[2:4])[:, None])
        return float(kind.stay.at(stay)[0]), float(kind.energy.at(energy)[0])

    def to_json(self) -> dict[str, Any]:
        """The profile as plain JSON values, numbers to seven digits: hours to the second, energies to the Wh."""
        return {"profile_version": PROFILE_VERSION, **_rounded(asdict(self))}

    @classmethod
    def from_json(cls, payload: Mapping[str, Any]) -> SiteProfile:
        """The profile that `to_json` made `payload`. ProfileError names a field that is wrong."""
        if payload.get("profile_version") != PROFILE_VERSION:
            raise ProfileError(f"profile_version is {payload.get('profile_version')!r}, not {PROFILE_VERSION}")
        plain = {name: value for name, value in payload.items() if name != "profile_version"}
        try:
            kinds = {name: _kind(name, kind) for name, kind in plain.pop("kinds").items()}
            soc = plain.pop("soc")
            visits = tuple(float(mean) for mean in plain.pop("visits"))
            profile = cls(**plain, visits=visits, kinds=kinds, soc=None if soc is None else _conditional("soc", soc))
        except (KeyError, TypeError, AttributeError) as error:
            raise ProfileError(f"a field is missing, unknown or of another type: {error}") from error
        profile._check()
        return profile

    def _check(self) -> None:
        if len(self.visits) != 7 or not all(0 <= mean < float("inf") for mean in self.visits) or not sum(self.visits):
            raise ProfileError(f"visits: seven means of which one is above 0, not {self.visits}")
        if not self.kinds.keys() <= {WEEKDAYS, WEEKEND}:
            raise ProfileError(f"kinds: {WEEKDAYS} and {WEEKEND}, not {', '.join(self.kinds)}")
        if not 0 <= self.closed_share < 1:
            raise ProfileError(f"closed_share: {self.closed_share!r} is not from 0 to below 1")
        for weekday, mean in enumerate(self.visits):
            if mean and (WEEKEND if weekday >= 5 else WEEKDAYS) not in self.kinds:
                raise ProfileError(f"kinds: there are visits on weekday {weekday}, of a kind that is missing")
        for name, least in (
            ("sessions", 0),
            ("day_variance", -1.0),
            ("power_kw", 1e-9),
            ("site_power_kw", 1e-9),
            ("evses", 1),
        ):
            value = getattr(self, name)
            if not (value is None and name == "site_power_kw") and not least <= value < float("inf"):
                raise ProfileError(f"{name}: {value!r} is impossible")


@cache
def shipped(name: str) -> SiteProfile:
    """A profile of SHIPPED. ProfileError for any other name."""
    if name not in SHIPPED:
        raise ProfileError(f"{name!r} is not shipped: {', '.join(SHIPPED)} are")
    return SiteProfile.from_json(json.loads((files("simulation.profiles") / f"{name}.json").read_text()))


def _draw_kind(kind: DayKind, count: int, random: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    start = random.random(count)
    stay = kind.stay_by_start.draw(start, random)
    energy = np.empty(count)
    part = (start * len(kind.energy_by_stay)).astype(np.int64)
    for number in np.unique(part):
        here = part == number
        energy[here] = kind.energy_by_stay[number].draw(stay[here], random)
    return (
        np.minimum(np.round(kind.start.at(start) * _HOUR_S), _DAY_S - 1) / _HOUR_S,
        np.round(kind.stay.at(stay) * _HOUR_S) / _HOUR_S,
        np.round(kind.energy.at(energy), 3),
    )


def _kind(name: str, payload: Mapping[str, Any]) -> DayKind:
    return DayKind(
        _distribution(f"{name}.start", payload["start"]),
        _distribution(f"{name}.stay", payload["stay"]),
        _distribution(f"{name}.energy", payload["energy"]),
        _copula(f"{name}.stay_by_start", payload["stay_by_start"]),
        tuple(_copula(f"{name}.energy_by_stay", one) for one in payload["energy_by_stay"]) or (INDEPENDENT,),
    )


def _copula(name: str, payload: Mapping[str, Any]) -> Copula:
    counts = tuple(tuple(float(count) for count in row) for row in payload["counts"])
    if not counts or not counts[0] or {len(row) for row in counts} != {len(counts[0])}:
        raise ProfileError(f"{name}: counts must be rows of one length")
    if not all(0 <= count < float("inf") for row in counts for count in row):
        raise ProfileError(f"{name}: counts must be 0 or more")
    return Copula(counts)


def _conditional(name: str, payload: Mapping[str, Any]) -> Conditional:
    distributions = tuple(_distribution(name, one) for one in payload["distributions"])
    given = tuple(float(value) for value in payload["given"])
    if len(given) != len(distributions) or any(a > b for a, b in pairwise(given)):
        raise ProfileError(f"{name}: each distribution needs a value that it is given, in rising order")
    return Conditional(given, distributions)


def _distribution(name: str, payload: Mapping[str, Any]) -> Distribution:
    knots = tuple(float(knot) for knot in payload["knots"])
    if not knots or any(a > b for a, b in pairwise(knots)) or not 0 <= knots[0] <= knots[-1] < float("inf"):
        raise ProfileError(f"{name}: knots must rise, from 0 or more")
    levels = tuple(float(level) for level in payload["levels"])
    if levels and (len(levels) != len(knots) or any(a > b for a, b in pairwise((0.0, *levels, 1.0)))):
        raise ProfileError(f"{name}: levels must rise within 0 and 1, one for each knot")
    return Distribution(knots, levels)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        rounded = float(f"{value:.7g}")
        return int(rounded) if rounded.is_integer() else rounded
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list | tuple) else value

"""A site's demand as parameters that were fitted to its sessions: when cars come, how long they stay, what they take.

Arrivals are a Poisson process whose rate follows the local week and, since no two Mondays are alike, is multiplied each day
by a gamma-distributed factor of mean 1 and variance `day_variance`: day counts are then negative binomial. Start, stay and
energy are drawn one after the other, each from its distribution given the one before: quantile functions and nothing else,
so a profile holds no row of the data that it was fitted to.

Hours are local, 0 to 24; stays are hours, energies kWh, states of charge percent. Pure: numpy alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PROFILE_VERSION = 1
WEEKDAYS, WEEKEND = "weekdays", "weekend"


class ProfileError(ValueError):
    """A profile that can not be used; says which field is wrong."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A quantity: `knots` are its quantiles at the levels (i + 0.5) / n, in rising order; between them it is uniform."""

    knots: tuple[float, ...]

    def at(self, levels: Floats) -> Floats:
        """The quantiles at `levels` (0 to 1), in their shape."""
        count = len(self.knots)
        quantiles: Floats = np.interp(levels, (np.arange(count) + 0.5) / count, self.knots)
        return quantiles


@dataclass(frozen=True, slots=True)
class Conditional:
    """A quantity given another: its distribution where the other one is `given[i]`, in rising order.

    Between two of them a draw is from either, from the nearer one the likelier: so the whole keeps the distribution of the
    data, which averaging quantiles would narrow.
    """

    given: tuple[float, ...]
    distributions: tuple[Distribution, ...]

    def draw(self, given: Floats, random: np.random.Generator) -> Floats:
        """A draw for each of `given` (any one-dimensional shape)."""
        drawn = np.empty(len(given))
        chosen = self._choose(given, random.random(len(given)))
        levels = random.random(len(given))
        for number, distribution in enumerate(self.distributions):
            here = chosen == number
            drawn[here] = distribution.at(levels[here])
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

    `stay` is given the start; `energies` are given the stay, each for starts from its hour `energy_from` on.
    """

    start: Distribution
    stay: Conditional
    energy_from: tuple[float, ...]
    energies: tuple[Conditional, ...]


@dataclass(frozen=True, slots=True)
class Visits:
    """Arrivals, arrays of one length: day (0 is the first), local start hour, stay (h), energy (kWh).

    `soc_percent` is the state of charge at arrival, nan where it is not known.
    """

    day: NDArray[np.int64]
    start_hour: Floats
    stay_h: Floats
    energy_kwh: Floats
    soc_percent: Floats

    def __len__(self) -> int:
        return len(self.day)

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Visits:
        """Some of them, by a mask or by their numbers, in that order."""
        return Visits(*(getattr(self, column.name)[chosen] for column in fields(self)))


@dataclass(frozen=True, slots=True)
class SiteProfile:
    """Demand at one site, and what the site is: so many EVSEs of `power_kw` (kW) with a connector.

    `visits` is the mean of each weekday, Monday first. `sessions` is how many the fit stands on, `source` whose they were.
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

    def draw(self, seed: int, days: int, first_weekday: int = 0) -> Visits:
        """The visits of `days` days in time order, the same for the same seed; the first is a `first_weekday` (0: Monday)."""
        return self._visits((np.arange(days) + first_weekday) % 7, np.random.default_rng(seed))

    def visits_on(self, weekday: int, random: np.random.Generator) -> Visits:
        """The visits of one `weekday` (0: Monday) in the order of their starts, all of day 0, as `draw` distributes them.

        A generator of its own for each site and day makes a day the same whatever was drawn before.
        """
        return self._visits(np.array([weekday]), random)

    def _visits(self, weekdays: NDArray[np.int64], random: np.random.Generator) -> Visits:
        """The visits of days in time order, by their weekdays."""
        rates = np.array(self.visits)[weekdays]
        if self.day_variance > 0:
            rates = rates * random.gamma(1 / self.day_variance, self.day_variance, len(weekdays))
        day = np.repeat(np.arange(len(weekdays)), random.poisson(rates))
        start, stay, energy = (np.empty(len(day)) for _ in range(3))
        for name, kind in self.kinds.items():
            of_kind = (weekdays[day] >= 5) == (name == WEEKEND)
            start[of_kind], stay[of_kind], energy[of_kind] = _draw_kind(kind, int(of_kind.sum()), random)
        soc = np.full(len(day), np.nan) if self.soc is None else self.soc.draw(energy, random)
        return Visits(day, start, stay, energy, soc).where(np.lexsort((start, day)))

    def to_json(self) -> dict[str, Any]:
        """Plain values, numbers to five digits."""
        return {"profile_version": PROFILE_VERSION, **_rounded(asdict(self))}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> SiteProfile:
        """The profile that `to_json` told. Raises ProfileError naming the field."""
        if told.get("profile_version") != PROFILE_VERSION:
            raise ProfileError(f"profile_version is {told.get('profile_version')!r}, not {PROFILE_VERSION}")
        plain = {name: value for name, value in told.items() if name != "profile_version"}
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
        for weekday, mean in enumerate(self.visits):
            if mean and (WEEKEND if weekday >= 5 else WEEKDAYS) not in self.kinds:
                raise ProfileError(f"kinds: there are visits on weekday {weekday}, of a kind that is missing")
        for name, least in (("day_variance", 0.0), ("power_kw", 1e-9), ("evses", 1)):
            if not least <= getattr(self, name) < float("inf"):
                raise ProfileError(f"{name}: {getattr(self, name)!r} is impossible")


def _draw_kind(kind: DayKind, count: int, random: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    start = kind.start.at(random.random(count))
    stay = kind.stay.draw(start, random)
    energy = np.empty(count)
    group = np.searchsorted(np.array(kind.energy_from), start, side="right") - 1
    group = np.maximum(group, 0)
    for number, given_stay in enumerate(kind.energies):
        here = group == number
        energy[here] = given_stay.draw(stay[here], random)
    return start, stay, energy


def _kind(name: str, told: Mapping[str, Any]) -> DayKind:
    energies = tuple(_conditional(f"{name}.energies", one) for one in told["energies"])
    if len(energies) != len(told["energy_from"]):
        raise ProfileError(f"kinds.{name}: {len(told['energy_from'])} energy_from, but {len(energies)} energies")
    return DayKind(
        _distribution(f"{name}.start", told["start"]),
        _conditional(f"{name}.stay", told["stay"]),
        tuple(told["energy_from"]),
        energies,
    )


def _conditional(name: str, told: Mapping[str, Any]) -> Conditional:
    distributions = tuple(_distribution(name, one) for one in told["distributions"])
    given = tuple(float(value) for value in told["given"])
    if len(given) != len(distributions) or any(a > b for a, b in pairwise(given)):
        raise ProfileError(f"{name}: each distribution needs a value that it is given, in rising order")
    return Conditional(given, distributions)


def _distribution(name: str, told: Mapping[str, Any]) -> Distribution:
    knots = tuple(float(knot) for knot in told["knots"])
    if not knots or any(a > b for a, b in pairwise(knots)) or not 0 <= knots[0] <= knots[-1] < float("inf"):
        raise ProfileError(f"{name}: knots must rise, from 0 or more")
    return Distribution(knots)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list | tuple) else value

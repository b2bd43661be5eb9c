"""Small charts as inline SVG: bars, steps and curves over two axes, legible at the width of a phone.

The page styles the classes of the series (`simulated`, `real`). A chart has no style of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, floor, log10
from xml.etree import ElementTree

import numpy as np

from simulation.profile import Floats

# A phone shows this width without scaling, so that type keeps its size.
_WIDTH, _HEIGHT = 380, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 10, 24, 38
# So small a chart cannot show more points.
_MOST_POINTS = 240


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`; `ticks` are values with their text. `label` names quantity and unit."""

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    @classmethod
    def of(cls, label: str, high: float, suffix: str = "") -> Axis:
        """From 0 to `high`, with four to seven round ticks."""
        high = high if high > 0 else 1.0
        step = _round_step(high / 5)
        ticks = [number * step for number in range(floor(high / step + 1e-9) + 1)]
        return cls(label, 0.0, high, tuple((tick, f"{tick:g}{suffix}") for tick in ticks))


def reaching(high: float) -> float:
    """The next round number from `high` up, for an axis that ends with a tick."""
    if not high > 0:
        return 1.0
    step = _round_step(high / 5)
    return ceil(high / step - 1e-9) * step


@dataclass
class Chart:
    """A chart. `name` is unique in the page; screen readers read `title` and `description`."""

    name: str
    title: str
    description: str
    x: Axis
    y: Axis
    _marks: list[ElementTree.Element] = field(default_factory=list)

    def bars(self, series: str, edges: Floats, heights: Floats) -> None:
        """One bar from each edge to the next, from 0 up."""
        for (low, high), height in zip(pairwise(edges), heights, strict=True):
            if height > 0:
                left, right, top = self._x(low), self._x(high), self._y(height)
                self._mark("rect", series, x=left + 0.5, y=top, width=right - left - 1, height=self._y(0) - top)

    def steps(self, series: str, edges: Floats, heights: Floats) -> None:
        """A line that is level between two edges."""
        self.curve(series, np.repeat(edges, 2)[1:-1], np.repeat(heights, 2))

    def curve(self, series: str, xs: Floats, ys: Floats) -> None:
        """A line through points."""
        points = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in zip(xs, ys, strict=True))
        self._mark("polyline", series, points=points)

    def distribution(self, series: str, values: Floats) -> None:
        """The empirical distribution of values, in percent, drawn up to the end of the x axis."""
        ordered = np.sort(values)
        xs = np.unique(np.quantile(ordered, np.linspace(0, 1, _MOST_POINTS), method="inverted_cdf"))
        xs = np.append(xs[xs < self.x.high], self.x.high)
        below = np.searchsorted(ordered, xs, side="right") / len(ordered) * 100
        self.steps(series, np.concatenate([[self.x.low], xs]), np.concatenate([[0.0], below[:-1]]))

    def hints(self, edges: Floats, texts: Sequence[str]) -> None:
        """Adds a text for each part between two edges; it shows while the pointer is there."""
        for (low, high), text in zip(pairwise(edges), texts, strict=True):
            left, top = self._x(low), self._y(self.y.high)
            area = self._mark("rect", "hint", x=left, y=top, width=self._x(high) - left, height=self._y(0) - top)
            ElementTree.SubElement(area, "title").text = text

    def svg(self) -> str:
        """The chart as an `svg` element."""
        root = ElementTree.Element(
            "svg",
            {
                "viewBox": f"0 0 {_WIDTH} {_HEIGHT}",
                "role": "img",
                "aria-labelledby": f"{self.name}-title {self.name}-description",
            },
        )
        ElementTree.SubElement(root, "title", {"id": f"{self.name}-title"}).text = self.title
        ElementTree.SubElement(root, "desc", {"id": f"{self.name}-description"}).text = self.description
        bottom, right = self._y(self.y.low), self._x(self.x.high)
        for tick, text in self.y.ticks:
            y = self._y(tick)
            _add(root, "line", "grid", x1=_LEFT, x2=right, y1=y, y2=y)
            _add(root, "text", "tick end", x=_LEFT - 5, y=y + 4).text = text
        root.extend(self._marks)
        _add(root, "line", "axis", x1=_LEFT, x2=right, y1=bottom, y2=bottom)
        for tick, text in self.x.ticks:
            x = self._x(tick)
            _add(root, "line", "axis", x1=x, x2=x, y1=bottom, y2=bottom + 4)
            _add(root, "text", "tick middle", x=x, y=bottom + 16).text = text
        _add(root, "text", "label", x=2, y=12).text = self.y.label
        _add(root, "text", "label end", x=right, y=_HEIGHT - 4).text = self.x.label
        return ElementTree.tostring(root, encoding="unicode")

    def _mark(self, tag: str, series: str, **attributes: float | str) -> ElementTree.Element:
        element = ElementTree.Element(tag, {"class": series, **_texts(attributes)})
        self._marks.append(element)
        return element

    def _x(self, value: float) -> float:
        share = (value - self.x.low) / (self.x.high - self.x.low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def _y(self, value: float) -> float:
        share = (value - self.y.low) / (self.y.high - self.y.low)
        return _HEIGHT - _BOTTOM - min(share, 1.0) * (_HEIGHT - _TOP - _BOTTOM)


def _add(root: ElementTree.Element, tag: str, css: str, **attributes: float | str) -> ElementTree.Element:
    return ElementTree.SubElement(root, tag, {"class": css, **_texts(attributes)})


def _texts(attributes: dict[str, float | str]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else f"{value:.1f}" for name, value in attributes.items()}


def _round_step(least: float) -> float:
    """The next number from `least` up that is 1, 2 or 5 times a power of ten."""
    power = 10.0 ** floor(log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))

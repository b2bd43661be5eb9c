"""A box of the map: between two longitudes and two latitudes, also across the antimeridian."""

from __future__ import annotations

from dataclasses import dataclass
from math import asinh, atan, ceil, degrees, floor, isfinite, log2, pi, radians, sinh, tan
from typing import Any

from evcharge.errors import UserError

#: A view of the globe may be scrolled once around it.
_FURTHEST = 540.0


#: Web Mercator ends here; tiles of its first and last row reach to the poles.
_LAST_ROW = 85.05


@dataclass(frozen=True, slots=True)
class Box:
    """From `west` eastward to `east` and from `south` to `north` (degrees, WGS 84).

    A `west` that is greater than `east` crosses the antimeridian, as do longitudes beyond 180: those of a map that was
    scrolled around the globe. `on_globe` has them between -180 and 180. Raises UserError for a box that is none.
    """

    west: float
    south: float
    east: float
    north: float

    def __post_init__(self) -> None:
        for name in ("west", "south", "east", "north"):
            value = getattr(self, name)
            limit = _FURTHEST if name in ("west", "east") else 90.0
            if not isfinite(value) or not -limit <= value <= limit:
                raise UserError(f"{name} {value:g} is off the globe: it lies between -{limit:g} and {limit:g}")
        if self.south > self.north:
            raise UserError(f"south {self.south:g} is north of north {self.north:g}")

    @property
    def width(self) -> float:
        """Degrees of longitude, at most 360."""
        apart = self.east - self.west
        return min(apart, 360.0) if apart >= 0 else apart % 360.0

    def on_globe(self) -> Box:
        """The same box with longitudes between -180 and 180, `west` the greater one if it crosses the antimeridian."""
        if self.width >= 360.0:
            return Box(-180.0, self.south, 180.0, self.north)
        if -180 <= self.west <= 180 and -180 <= self.east <= 180:
            return self
        return Box(_on_globe(self.west), self.south, _on_globe(self.east), self.north)

    def query(self, field: str = "location") -> dict[str, Any]:
        """The Elasticsearch filter for documents with a place in the box."""
        box = self.on_globe()
        edges = {"left": box.west, "right": box.east, "bottom": box.south, "top": box.north}
        return {"geo_bounding_box": {field: edges}}

    def has(self, latitude: float, longitude: float) -> bool:
        """Whether a place is in the box."""
        box = self.on_globe()
        if not box.south <= latitude <= box.north:
            return False
        if box.west <= box.east:
            return box.west <= longitude <= box.east
        return longitude >= box.west or longitude <= box.east

    def tile_zoom(self, across: int) -> int:
        """The zoom of map tiles of which about `across` and at least half as many lie side by side in the box."""
        return max(floor(log2(across * 360.0 / max(self.width, 1e-6))), 0)

    def whole_tiles(self, zoom: int) -> Box:
        """The box of all the map tiles (Web Mercator) that the box touches."""
        count = 1 << zoom
        box = self.on_globe()

        def column(longitude: float) -> float:
            return (longitude + 180.0) / 360.0 * count

        def row(latitude: float) -> float:
            return (1 - asinh(tan(radians(latitude))) / pi) / 2 * count

        if self.width >= 360.0:
            west, east = -180.0, 180.0
        else:
            west, east = floor(column(box.west)) / count * 360 - 180, ceil(column(box.east)) / count * 360 - 180
        south = box.south if box.south < -_LAST_ROW else tile_latitude(ceil(row(box.south)), zoom)
        north = box.north if box.north > _LAST_ROW else tile_latitude(floor(row(box.north)), zoom)
        if box.west > box.east and west <= east:
            # the tiles meet behind the globe
            west, east = -180.0, 180.0
        return Box(west, south, east, north)

    def to_json(self) -> dict[str, float]:
        return {"west": self.west, "south": self.south, "east": self.east, "north": self.north}


def tile_box(key: str) -> Box:
    """The box of a map tile (zoom/x/y, Web Mercator)."""
    zoom, x, y = map(int, key.split("/"))
    count = 1 << zoom
    return Box(x / count * 360 - 180, tile_latitude(y + 1, zoom), (x + 1) / count * 360 - 180, tile_latitude(y, zoom))


def tile_latitude(row: int, zoom: int) -> float:
    """The latitude at which a row of map tiles begins in the north."""
    return degrees(atan(sinh(pi * (1 - 2 * row / (1 << zoom)))))


def _on_globe(longitude: float) -> float:
    return (longitude + 180.0) % 360.0 - 180.0

"""Places on the globe: whether they are valid, and the distance and direction from one to another."""

from __future__ import annotations

from math import asin, atan2, cos, degrees, radians, sin, sqrt
from typing import Any

from evcharge.errors import UserError

#: Mean radius of the Earth (IUGG). Elasticsearch uses it too.
EARTH_KM = 6371.0088
#: 500 km is a day's drive: a larger radius is a mistake.
MAX_RADIUS_KM = 500.0


def check_place(latitude: float, longitude: float) -> None:
    """Raises UserError unless the place (degrees, WGS 84) is on the globe."""
    if not -90 <= latitude <= 90:
        raise UserError(f"latitude {latitude:g} is off the globe: it lies between -90 and 90")
    if not -180 <= longitude <= 180:
        raise UserError(f"longitude {longitude:g} is off the globe: it lies between -180 and 180")


def check_radius(radius_km: float) -> None:
    """Raises UserError unless the radius is above 0 and at most MAX_RADIUS_KM."""
    if not 0 < radius_km <= MAX_RADIUS_KM:
        raise UserError(f"radius {radius_km:g} km: it must be above 0 and at most {MAX_RADIUS_KM:g} km")


def within(location: dict[str, float], radius_km: float) -> dict[str, Any]:
    """The Elasticsearch filter for documents within a radius of a place (`lat`, `lon`)."""
    return {"geo_distance": {"distance": f"{radius_km}km", "location": location}}


def box_around(location: dict[str, float], radius_km: float) -> dict[str, Any]:
    """The Elasticsearch filter for the box around the circle of `within`.

    It is for queries that sort by distance, since they can cut off the corners. Elasticsearch computes thousands of
    distances to prepare a circle, and none for a box.
    """
    latitude, longitude = location["lat"], location["lon"]
    # a thousandth more, so that rounding cuts nothing off
    high = degrees(radius_km / EARTH_KM) * 1.001
    top, bottom = min(latitude + high, 90.0), max(latitude - high, -90.0)
    # the longitudes of the meridians that touch the circle; a circle around a pole has none
    touching = sin(radians(high)) / max(cos(radians(latitude)), 1e-12)
    wide = 180.0 if touching >= 1 else degrees(asin(touching))
    left, right = (-180.0, 180.0) if wide >= 180 else (_on_globe(longitude - wide), _on_globe(longitude + wide))
    return {"geo_bounding_box": {"location": {"top": top, "bottom": bottom, "left": left, "right": right}}}


def _on_globe(longitude: float) -> float:
    return (longitude + 180.0) % 360.0 - 180.0


def nearest_first(location: dict[str, float]) -> dict[str, Any]:
    """The Elasticsearch sort by distance. The sort values are distances in km."""
    return {"_geo_distance": {"location": location, "unit": "km", "order": "asc"}}


def distance_km(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> float:
    """Length in km of the great circle between two places (degrees)."""
    latitude_a, latitude_b = radians(latitude), radians(to_latitude)
    half_latitude, half_longitude = (latitude_b - latitude_a) / 2, radians(to_longitude - longitude) / 2
    chord = sin(half_latitude) ** 2 + cos(latitude_a) * cos(latitude_b) * sin(half_longitude) ** 2
    return 2 * EARTH_KM * asin(min(sqrt(chord), 1.0))


def bearing(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> float:
    """The direction in which the great circle to another place begins, degrees clockwise from north (0 to 360)."""
    latitude_a, latitude_b = radians(latitude), radians(to_latitude)
    east = radians(to_longitude - longitude)
    y = sin(east) * cos(latitude_b)
    x = cos(latitude_a) * sin(latitude_b) - sin(latitude_a) * cos(latitude_b) * cos(east)
    return degrees(atan2(y, x)) % 360


def between(bearing_a: float, bearing_b: float) -> float:
    """The angle between two directions, 0 to 180 degrees."""
    apart = abs(bearing_a - bearing_b) % 360
    return min(apart, 360 - apart)

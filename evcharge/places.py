"""Places on the globe: whether they are on it, how far and in which direction one lies from another."""

from __future__ import annotations

from math import asin, atan2, cos, degrees, radians, sin, sqrt
from typing import Any

from evcharge.errors import UserError

#: Mean radius (IUGG), with which Elasticsearch computes too.
EARTH_KM = 6371.0088
#: More than a day's drive from anywhere in it: a larger radius is a mistake.
MAX_RADIUS_KM = 500.0


def check_place(latitude: float, longitude: float) -> None:
    """Raises UserError unless the place (degrees, WGS 84) is on the globe."""
    if not -90 <= latitude <= 90:
        raise UserError(f"latitude {latitude:g} is off the globe: it lies between -90 and 90")
    if not -180 <= longitude <= 180:
        raise UserError(f"longitude {longitude:g} is off the globe: it lies between -180 and 180")


def check_radius(radius_km: float) -> None:
    """Raises UserError unless a radius makes sense."""
    if not 0 < radius_km <= MAX_RADIUS_KM:
        raise UserError(f"radius {radius_km:g} km: it must be above 0 and at most {MAX_RADIUS_KM:g} km")


def within(location: dict[str, float], radius_km: float) -> dict[str, Any]:
    """The Elasticsearch filter for what lies around a place (`lat`, `lon`)."""
    return {"geo_distance": {"distance": f"{radius_km}km", "location": location}}


def box_around(location: dict[str, float], radius_km: float) -> dict[str, Any]:
    """The Elasticsearch filter for the box around what `within` gives: for who sorts by distance and can cut off the corners.

    Elasticsearch prepares a circle with thousands of distances, a box with none.
    """
    latitude, longitude = location["lat"], location["lon"]
    # a thousandth more, for what rounding may take away
    high = degrees(radius_km / EARTH_KM) * 1.001
    top, bottom = min(latitude + high, 90.0), max(latitude - high, -90.0)
    # the meridians that touch the circle; it has none where it holds a pole
    touching = sin(radians(high)) / max(cos(radians(latitude)), 1e-12)
    wide = 180.0 if touching >= 1 else degrees(asin(touching))
    left, right = (-180.0, 180.0) if wide >= 180 else (_on_globe(longitude - wide), _on_globe(longitude + wide))
    return {"geo_bounding_box": {"location": {"top": top, "bottom": bottom, "left": left, "right": right}}}


def _on_globe(longitude: float) -> float:
    return (longitude + 180.0) % 360.0 - 180.0


def nearest_first(location: dict[str, float]) -> dict[str, Any]:
    """The Elasticsearch sort by distance; its sort value is the distance in km."""
    return {"_geo_distance": {"location": location, "unit": "km", "order": "asc"}}


def distance_km(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> float:
    """Length of the great circle between two places (degrees)."""
    latitude_a, latitude_b = radians(latitude), radians(to_latitude)
    half_latitude, half_longitude = (latitude_b - latitude_a) / 2, radians(to_longitude - longitude) / 2
    chord = sin(half_latitude) ** 2 + cos(latitude_a) * cos(latitude_b) * sin(half_longitude) ** 2
    return 2 * EARTH_KM * asin(min(sqrt(chord), 1.0))


def bearing(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> float:
    """The direction of the great circle to another place where it begins, degrees clockwise from north."""
    latitude_a, latitude_b = radians(latitude), radians(to_latitude)
    east = radians(to_longitude - longitude)
    y = sin(east) * cos(latitude_b)
    x = cos(latitude_a) * sin(latitude_b) - sin(latitude_a) * cos(latitude_b) * cos(east)
    return degrees(atan2(y, x)) % 360


def between(bearing_a: float, bearing_b: float) -> float:
    """The angle between two directions, 0 to 180 degrees."""
    apart = abs(bearing_a - bearing_b) % 360
    return min(apart, 360 - apart)

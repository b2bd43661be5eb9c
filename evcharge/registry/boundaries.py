"""Whether a station's place fits its country and state.

The country is that of the place's time zone. A state or province is known by the box around it: that finds coordinates that
are swapped, have no sign or belong to another station, and needs no polygons.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from tzfpy import get_tz

#: West, south, east and north of each state and territory in degrees, rounded outwards. From the US Census Bureau's
#: cartographic boundary file of 2017 (cb_2017_us_state_500k). Alaska's last island, Attu, lies beyond 180 degrees, at 172.42
#: east.
US_BOXES = {
    "AK": (-187.58, 51.21, -129.97, 71.37),
    "AL": (-88.48, 30.22, -84.88, 35.01),
    "AR": (-94.62, 33.00, -89.64, 36.50),
    "AS": (-171.09, -14.55, -168.14, -11.04),
    "AZ": (-114.82, 31.33, -109.04, 37.01),
    "CA": (-124.41, 32.53, -114.13, 42.01),
    "CO": (-109.07, 36.99, -102.04, 41.01),
    "CT": (-73.73, 40.98, -71.78, 42.06),
    "DC": (-77.12, 38.79, -76.90, 39.00),
    "DE": (-75.79, 38.45, -75.04, 39.84),
    "FL": (-87.64, 24.52, -80.03, 31.01),
    "GA": (-85.61, 30.35, -80.83, 35.01),
    "GU": (144.61, 13.23, 144.96, 13.66),
    "HI": (-178.34, 18.91, -154.80, 28.41),
    "IA": (-96.64, 40.37, -90.14, 43.51),
    "ID": (-117.25, 41.98, -111.04, 49.01),
    "IL": (-91.52, 36.97, -87.49, 42.51),
    "IN": (-88.10, 37.77, -84.78, 41.77),
    "KS": (-102.06, 36.99, -94.58, 40.01),
    "KY": (-89.58, 36.49, -81.96, 39.15),
    "LA": (-94.05, 28.92, -88.81, 33.02),
    "MA": (-73.51, 41.23, -69.92, 42.89),
    "MD": (-79.49, 37.91, -75.04, 39.73),
    "ME": (-71.09, 42.97, -66.94, 47.46),
    "MI": (-90.42, 41.69, -82.41, 48.24),
    "MN": (-97.24, 43.49, -89.49, 49.39),
    "MO": (-95.78, 35.99, -89.09, 40.62),
    "MP": (144.88, 14.11, 146.07, 20.56),
    "MS": (-91.66, 30.17, -88.09, 35.00),
    "MT": (-116.06, 44.35, -104.03, 49.01),
    "NC": (-84.33, 33.84, -75.46, 36.59),
    "ND": (-104.05, 45.93, -96.55, 49.01),
    "NE": (-104.06, 39.99, -95.30, 43.01),
    "NH": (-72.56, 42.69, -70.61, 45.31),
    "NJ": (-75.56, 38.92, -73.89, 41.36),
    "NM": (-109.06, 31.33, -103.00, 37.01),
    "NV": (-120.01, 35.00, -114.03, 42.01),
    "NY": (-79.77, 40.49, -71.85, 45.02),
    "OH": (-84.83, 38.40, -80.51, 41.98),
    "OK": (-103.01, 33.61, -94.43, 37.01),
    "OR": (-124.57, 41.99, -116.46, 46.30),
    "PA": (-80.52, 39.71, -74.68, 42.27),
    "PR": (-67.95, 17.88, -65.22, 18.52),
    "RI": (-71.87, 41.14, -71.12, 42.02),
    "SC": (-83.36, 32.03, -78.54, 35.22),
    "SD": (-104.06, 42.47, -96.43, 45.95),
    "TN": (-90.32, 34.98, -81.64, 36.68),
    "TX": (-106.65, 25.83, -93.50, 36.51),
    "UT": (-114.06, 36.99, -109.04, 42.01),
    "VA": (-83.68, 36.54, -75.24, 39.47),
    "VI": (-65.09, 17.67, -64.56, 18.42),
    "VT": (-73.44, 42.72, -71.46, 45.02),
    "WA": (-124.77, 45.54, -116.91, 49.01),
    "WI": (-92.89, 42.49, -86.80, 47.09),
    "WV": (-82.65, 37.20, -77.71, 40.64),
    "WY": (-111.06, 40.99, -104.05, 45.01),
}
#: The same of Canada's provinces and territories, by their extreme points. They were not checked against a boundary file.
CANADIAN_BOXES = {
    "AB": (-120.01, 48.99, -109.99, 60.01),
    "BC": (-139.07, 48.22, -114.03, 60.01),
    "MB": (-102.04, 48.98, -88.93, 60.01),
    "NB": (-69.07, 44.55, -63.76, 48.08),
    "NL": (-67.83, 46.60, -52.60, 60.39),
    "NS": (-66.35, 43.36, -59.67, 47.05),
    "NT": (-136.49, 59.99, -101.97, 78.78),
    "NU": (-120.70, 51.63, -61.05, 83.13),
    "ON": (-95.17, 41.67, -74.32, 56.88),
    "PE": (-64.43, 45.94, -61.96, 47.08),
    "QC": (-79.78, 44.98, -57.09, 62.60),
    "SK": (-110.01, 48.98, -101.35, 60.01),
    "YT": (-141.01, 59.99, -123.80, 69.66),
}
#: AFDC gives the country US to the stations of the territories, which have codes and time zones of their own.
_US_CODES = frozenset({"US", "AS", "GU", "MP", "PR", "UM", "VI"})
# 5 km: the polygons of time zones are simplified, and piers and bridges end outside of boxes.
_TOLERANCE_DEGREES = 0.05


def misfit(latitude: float, longitude: float, country: str | None, state: str | None) -> str | None:
    """What is wrong with the place of a station, such as `latitude -71.04, longitude 42.35 is in AQ, not in US`.

    None if the place fits, or if the codes are not comparable. `country` is an ISO 3166-1 alpha-2 code in capitals; without
    one the state of the US decides.
    """
    where = _where(latitude, longitude, country, state)
    if where is None:
        return None
    text = f"latitude {latitude:g}, longitude {longitude:g} is {where}"
    others = {
        "latitude and longitude swapped": (longitude, latitude),
        "a minus before the longitude": (latitude, -longitude),
        "a minus before the latitude": (-latitude, longitude),
    }
    for name, (other_latitude, other_longitude) in others.items():
        if abs(other_latitude) <= 90 and _where(other_latitude, other_longitude, country, state) is None:
            return f"{text}; with {name} it would fit"
    return text


def is_comparable(country: str | None, state: str | None) -> bool:
    """Whether one of the codes says where the station must be."""
    return country in _codes() or (country is None and state in US_BOXES)


def _where(latitude: float, longitude: float, country: str | None, state: str | None) -> str | None:
    """Where the place is, if that is wrong."""
    boxes = CANADIAN_BOXES if country == "CA" else US_BOXES if country in (None, *_US_CODES) else {}
    box = boxes.get(state or "")
    country = country or ("US" if box else None)
    if country in _codes():
        expected = _US_CODES if country in _US_CODES else {country}
        steps = (0.0, -_TOLERANCE_DEGREES, _TOLERANCE_DEGREES)
        if not any(_countries(latitude + north, longitude + east) & expected for north in steps for east in steps):
            found = _countries(latitude, longitude)
            return (
                f"in {' or '.join(sorted(found))}, not in {country}" if found else f"in the open sea, not in {country}"
            )
    if box is not None and not _within(box, latitude, longitude):
        return f"not in the state {state}"
    return None


def _within(box: tuple[float, float, float, float], latitude: float, longitude: float) -> bool:
    west, south, east, north = box
    if longitude - 360 >= west:
        longitude -= 360
    return (
        west - _TOLERANCE_DEGREES <= longitude <= east + _TOLERANCE_DEGREES
        and south - _TOLERANCE_DEGREES <= latitude <= north + _TOLERANCE_DEGREES
    )


def _countries(latitude: float, longitude: float) -> frozenset[str]:
    """The countries at the place; empty at sea, beyond territorial waters."""
    zone = get_tz(max(-180.0, min(180.0, longitude)), max(-90.0, min(90.0, latitude)))
    return _zone_countries().get(zone, frozenset())


@cache
def _zone_countries() -> dict[str, frozenset[str]]:
    """The countries of each time zone, from tzdata's `zone.tab`: unlike `zone1970.tab` it has each country's own zones."""
    found: dict[str, frozenset[str]] = {}
    for line in files("tzdata").joinpath("zoneinfo", "zone.tab").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            codes, _, zone = line.split("\t")[:3]
            found[zone] = frozenset(codes.split(","))
    return found


@cache
def _codes() -> frozenset[str]:
    return frozenset().union(*_zone_countries().values())

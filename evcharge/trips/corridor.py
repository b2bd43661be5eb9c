"""Stations along a way: how far off it they are, which of them are worth looking at, and the distances between them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from evcharge.trips.energy import Consumption
from evcharge.trips.roads import CIRCUITY, Route, great_circle_km, off_freeway_s

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

KM_PER_DEGREE = 111.195
#: The most stations that a plan is searched over, and the least length of a piece of the way that gets its share of them.
MOST_STATIONS = 120
_PIECE_KM = 12.0
_SHARE = 4


@dataclass(frozen=True, slots=True)
class Box:
    """A box in degrees that a part of a corridor lies in. West may be greater than east: it then crosses 180 degrees."""

    south: float
    west: float
    north: float
    east: float


@dataclass(frozen=True, slots=True)
class Beside:
    """Places beside a way, arrays of shape (n,): how far along it they are, and how far off it by road (km)."""

    at_km: Floats
    off_km: Floats


def boxes(
    route: Route, width_km: float, from_km: float = 0.0, to_km: float | None = None, count: int = 40
) -> list[Box]:
    """At most `count` boxes that hold everything within `width_km` of a part of a way."""
    end = route.distance_km if to_km is None else to_km
    kms = np.linspace(from_km, end, count * 4 + 1)
    latitudes, longitudes = _places(route, kms)
    high = width_km / KM_PER_DEGREE
    found = []
    for first in range(0, len(kms) - 1, 4):
        part = slice(first, first + 5)
        south, north = latitudes[part].min() - high, latitudes[part].max() + high
        wide = high / max(np.cos(np.radians(min(max(abs(south), abs(north)), 89.0))), 0.02)
        west, east = longitudes[part].min() - wide, longitudes[part].max() + wide
        if east - west >= 360:
            west, east = -180.0, 180.0
        found.append(Box(max(south, -90.0), _on_globe(west), min(north, 90.0), _on_globe(east)))
    return list(dict.fromkeys(found))


def beside(route: Route, latitudes: Floats, longitudes: Floats) -> Beside:
    """Where places (degrees) lie beside a way: the nearest point of it, and 1.3 times the great circle to that point."""
    # On a plane around each place: 1 % off at 50 km, which is as far as anyone looks.
    scale = np.cos(np.radians(latitudes))[:, None]
    start, stop = route.points[:-1], route.points[1:]
    x0 = _turned(start[None, :, 1] - longitudes[:, None]) * scale
    y0 = start[None, :, 0] - latitudes[:, None]
    dx = _turned(stop[:, 1] - start[:, 1])[None, :] * scale
    dy = (stop[:, 0] - start[:, 0])[None, :]
    length = np.maximum(dx**2 + dy**2, 1e-18)
    share = np.clip(-(x0 * dx + y0 * dy) / length, 0.0, 1.0)
    apart = (x0 + share * dx) ** 2 + (y0 + share * dy) ** 2
    piece = np.argmin(apart, axis=1) if apart.shape[1] else np.zeros(len(latitudes), dtype=np.int64)
    row = np.arange(len(latitudes))
    at_km = route.km_at[piece] + share[row, piece] * np.diff(route.km_at)[piece]
    on_way = start[piece] + share[row, piece][:, None] * np.stack(
        [stop[piece, 0] - start[piece, 0], _turned(stop[piece, 1] - start[piece, 1])], axis=1
    )
    return Beside(at_km, great_circle_km(latitudes, longitudes, on_way[:, 0], on_way[:, 1]) * CIRCUITY)


def chosen(route: Route, near: Beside, cost_s: Floats, most: int = MOST_STATIONS) -> Ints:
    """The stations that are worth looking at: of each piece of the way those with the least cost.

    `cost_s` is what a stop there costs beside the way there and back: charging, waiting. The number of pieces is such that
    about `most` stations are left, whatever the length of the way.
    """
    pieces = max(min(int(route.distance_km / _PIECE_KM), most // _SHARE), 1)
    piece = np.minimum((near.at_km / max(route.distance_km, 1e-9) * pieces).astype(int), pieces - 1)
    whole = cost_s + 2 * off_freeway_s(near.off_km)
    order = np.lexsort((whole, piece))
    rank = np.arange(len(order)) - np.searchsorted(piece[order], piece[order])
    # Where many pieces are empty, the others get more.
    share = _SHARE
    while share < most and int((rank < share * 1.5).sum()) <= most and int((rank < share).sum()) < len(order):
        share = int(share * 1.5)
    return np.sort(order[rank < share])


def gaps(route: Route, near: Beside, longest_km: float) -> list[tuple[float, float]]:
    """The parts of a way, as (from km, to km), where no station is for `longest_km` or more."""
    stops = np.concatenate([[0.0], np.sort(near.at_km), [route.distance_km]])
    return [(float(a), float(b)) for a, b in pairwise(stops) if b - a >= longest_km]


@dataclass(frozen=True, slots=True)
class Ways:
    """Ways from n stations and the start (rows) to n stations and the destination (columns).

    `km`, `drive_s` and `kwh` are of shape (n + 1, n + 1). `follows` says where a way follows the route; others go straight.
    """

    km: Floats
    drive_s: Floats
    kwh: Floats
    follows: NDArray[np.bool_]


def ways(route: Route, latitudes: Floats, longitudes: Floats, near: Beside, consumption: Consumption) -> Ways:
    """The lesser of the way along the route, with the way to and from it, and of 1.3 times the great circle."""
    ends = route.points[[0, -1]]
    latitude_from, longitude_from = np.append(latitudes, ends[0, 0]), np.append(longitudes, ends[0, 1])
    latitude_to, longitude_to = np.append(latitudes, ends[1, 0]), np.append(longitudes, ends[1, 1])
    at_from, off_from = np.append(near.at_km, 0.0), np.append(near.off_km, 0.0)
    at_to, off_to = np.append(near.at_km, route.distance_km), np.append(near.off_km, 0.0)
    kwh_at = np.concatenate([[0.0], np.cumsum(consumption.kwh(np.diff(route.km_at), np.diff(route.seconds_at)))])

    def along(values: Floats) -> Floats:
        starts, stops = (np.interp(at, route.km_at, values) for at in (at_from, at_to))
        return np.abs(starts[:, None] - stops)

    access_s, last_s = off_freeway_s(off_from), off_freeway_s(off_to)
    follow_km = along(route.km_at) + off_from[:, None] + off_to
    follow_s = along(route.seconds_at) + access_s[:, None] + last_s
    follow_kwh = along(kwh_at) + consumption.kwh(off_from, access_s)[:, None] + consumption.kwh(off_to, last_s)
    straight_km = CIRCUITY * great_circle_km(latitude_from[:, None], longitude_from[:, None], latitude_to, longitude_to)
    straight_s = off_freeway_s(straight_km)
    straight_kwh = consumption.kwh(straight_km, straight_s)
    follows = follow_km <= straight_km
    follows[-1, -1] = True
    return Ways(
        np.where(follows, follow_km, straight_km),
        np.where(follows, follow_s, straight_s),
        np.where(follows, follow_kwh, straight_kwh),
        follows,
    )


def _places(route: Route, kms: Floats) -> tuple[Floats, Floats]:
    longitudes = np.unwrap(route.points[:, 1], period=360.0)
    return np.interp(kms, route.km_at, route.points[:, 0]), np.interp(kms, route.km_at, longitudes)


def _turned(degrees: Floats) -> Floats:
    """Differences of longitudes, between -180 and 180."""
    return (degrees + 180.0) % 360.0 - 180.0


def _on_globe(longitude: float) -> float:
    return longitude if -180.0 <= longitude <= 180.0 else float((longitude + 180.0) % 360.0 - 180.0)

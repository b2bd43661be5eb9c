"""Roads between two places, estimated from the freeways of the United States.

The network is the one that comes with scgraph 2.15.0 (MIT; after the Bureau of Transportation Statistics' National Highway
Planning Network): 14,591 nodes and their distances by road. Freeways alone are 1.22 times the great circle in the median and
3.46 times at worst, because it ends where freeways end. So a distance is the lesser of

- the freeway's, with a way to and from it of 1.3 times the great circle, and
- 1.3 times the great circle. Ballou, Rahardja and Sakai (2002, "Selected country circuity factors") have 1.20 for the United
  States on long trips, and shorter ones wind more.

All of it is an estimate: no bridges, mountains, one-way streets or traffic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from evcharge.places import EARTH_KM
from evcharge.trips.kept import kept

Floats = NDArray[np.float64]

#: Road over great circle away from freeways.
CIRCUITY = 1.3
#: Mean speeds (assumptions, compared with eight trips of which the usual driving time is known: see `tests/unit/trips`). The
#: first kilometres away from a freeway are streets; further ones are highways with crossings.
FREEWAY_KMH = 105.0
HIGHWAY_KMH = 80.0
STREET_KMH = 45.0
STREET_KM = 8.0
#: A longer way away from the network leads over freeways that the estimate does not know in part.
LONG_KM, LONG_KMH = 100.0, 95.0
#: Long links are divided, so that who lives beside the middle of one can join it there.
_LINK_KM = 5.0
#: How many of the nearest nodes may be where a way joins the freeways, and out of how many that are looked at.
_ACCESSES = 24
#: Who is nearer than this to a freeway can drive to it.
_BESIDE_KM = 100.0
#: Changes when `_Freeways` or what is made of the network does.
_FORM = "freeways-1.npz"
#: Pieces of a path are at least this long: places beside it are projected onto them.
_PIECE_KM = 2.0


@dataclass(frozen=True, slots=True)
class Route:
    """A way from one place to another.

    `points` is of shape (n, 2): latitude and longitude in degrees. `km_at` and `seconds_at`, of shape (n,), are the distance
    and the time from the start. `source` says where the figures come from.
    """

    points: Floats
    km_at: Floats
    seconds_at: Floats
    source: str

    @property
    def distance_km(self) -> float:
        return float(self.km_at[-1])

    @property
    def drive_s(self) -> float:
        return float(self.seconds_at[-1])

    def line(self, from_km: float = 0.0, to_km: float | None = None) -> list[list[float]]:
        """The way between two distances from the start, as [longitude, latitude], in at most about 300 points."""
        end = self.distance_km if to_km is None else to_km
        inside = np.flatnonzero((self.km_at > min(from_km, end)) & (self.km_at < max(from_km, end)))
        inside = inside[:: len(inside) // 300 + 1]
        kms = np.concatenate(([from_km], self.km_at[inside if end >= from_km else inside[::-1]], [end]))
        latitudes, longitudes = (np.interp(kms, self.km_at, self.points[:, axis]) for axis in (0, 1))
        return [[round(float(x), 5), round(float(y), 5)] for y, x in zip(latitudes, longitudes, strict=True)]


def great_circle_km(latitude: Any, longitude: Any, to_latitude: Any, to_longitude: Any) -> Floats:
    """Lengths of great circles (km) between places in degrees; the arguments broadcast."""
    latitude_a, latitude_b = np.radians(latitude), np.radians(to_latitude)
    half_longitude = np.radians(np.asarray(to_longitude) - longitude) / 2
    chord = (
        np.sin((latitude_b - latitude_a) / 2) ** 2
        + np.cos(latitude_a) * np.cos(latitude_b) * np.sin(half_longitude) ** 2
    )
    found: Floats = 2 * EARTH_KM * np.arcsin(np.minimum(np.sqrt(chord), 1.0))
    return found


def off_freeway_s(km: Any) -> Floats:
    """Driving time (s) over a distance away from freeways."""
    streets, long = np.minimum(km, STREET_KM), np.maximum(np.subtract(km, LONG_KM), 0.0)
    seconds: Floats = (streets / STREET_KMH + (km - streets - long) / HIGHWAY_KMH + long / LONG_KMH) * 3600
    return seconds


@lru_cache(maxsize=256)
def route(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> Route:
    """The estimated way between two places (degrees, WGS 84). Never raises."""
    straight = float(great_circle_km(latitude, longitude, to_latitude, to_longitude))
    direct = _off_freeway(np.array([[latitude, longitude], [to_latitude, to_longitude]]), straight)
    by_freeway = _by_freeway((latitude, longitude), (to_latitude, to_longitude))
    if by_freeway is None or by_freeway.distance_km >= direct.distance_km:
        return direct
    return by_freeway


def is_connected(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> bool:
    """Whether a freeway leads from near one place to near the other. Away from the United States nothing is known: True."""
    nodes = _freeways().nodes
    ends = [(latitude, longitude), (to_latitude, to_longitude)]
    beside = [great_circle_km(*end, nodes[:, 0], nodes[:, 1]) for end in ends]
    if max(float(kms.min()) for kms in beside) > _BESIDE_KM:
        return True
    distances, _ = _tree(ends[0])
    return bool(np.isfinite(distances[np.argmin(beside[1])]))


def load(folder: Path | None = None) -> None:
    """Loads the network now, so that the first question does not wait for it.

    That takes 1.6 s of a processor, or 0.7 s with the compact form that is kept in the folder.
    """
    # imported here too: it takes longer than a trip
    import scipy.sparse.csgraph  # noqa: F401

    global _loaded
    with _loading:
        if _loaded is None:
            _loaded = kept(folder, "scgraph", _FORM, _divided, _Freeways.to_bytes, _Freeways.of_bytes)


def _off_freeway(ends: Floats, straight_km: float) -> Route:
    """The way of 1.3 times the great circle, in pieces along it."""
    shares = np.linspace(0.0, 1.0, max(int(min(straight_km / _PIECE_KM, 200)), 1) + 1)
    kms = straight_km * CIRCUITY * shares
    seconds = float(off_freeway_s(straight_km * CIRCUITY)) * shares
    return Route(_along(ends[0], ends[1], shares), kms, seconds, f"{CIRCUITY:g} x great circle")


def _along(start: Floats, end: Floats, shares: Floats) -> Floats:
    """Points on the great circle between two places."""
    a, b = (_on_sphere(place) for place in (start, end))
    angle = np.arccos(np.clip(np.dot(a, b), -1.0, 1.0))
    if angle < 1e-9 or np.pi - angle < 1e-6:
        mixed = np.outer(1 - shares, start) + np.outer(shares, end)
        return np.asarray(mixed)
    points = (np.outer(np.sin((1 - shares) * angle), a) + np.outer(np.sin(shares * angle), b)) / np.sin(angle)
    latitudes = np.degrees(np.arcsin(np.clip(points[:, 2], -1, 1)))
    return np.stack([latitudes, np.degrees(np.arctan2(points[:, 1], points[:, 0]))], axis=1)


def _on_sphere(place: Floats) -> Floats:
    latitude, longitude = np.radians(place)
    return np.array([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)])


@dataclass(frozen=True, slots=True)
class _Freeways:
    """Nodes of shape (n, 2), in degrees, and the links between them as a sparse matrix of km (CSR)."""

    nodes: Floats
    data: Floats
    indices: NDArray[np.int32]
    indptr: NDArray[np.int32]

    def to_bytes(self) -> bytes:
        file = BytesIO()
        np.savez(file, nodes=self.nodes, data=self.data, indices=self.indices, indptr=self.indptr)
        return file.getvalue()

    @classmethod
    def of_bytes(cls, content: bytes) -> _Freeways:
        """Raises ValueError if these are not such bytes."""
        try:
            with np.load(BytesIO(content), allow_pickle=False) as arrays:
                return cls(arrays["nodes"], arrays["data"], arrays["indices"], arrays["indptr"])
        except (BadZipFile, EOFError, KeyError) as error:
            raise ValueError(str(error)) from None


_loaded: _Freeways | None = None
_loading = Lock()


def _freeways() -> _Freeways:
    if _loaded is None:
        load()
    assert _loaded is not None
    return _loaded


def _divided() -> _Freeways:
    """The network with its long links divided."""
    from scgraph.geographs.us_freeway import us_freeway_geograph as network
    from scipy.sparse import csr_matrix

    nodes = np.array(network.nodes, dtype=float)
    ends = np.array([(a, b, km) for a, links in enumerate(network.graph) for b, km in links.items() if a < b])
    starts, stops, kms = ends[:, 0].astype(int), ends[:, 1].astype(int), ends[:, 2]
    parts = np.maximum(np.ceil(kms / _LINK_KM).astype(int), 1)
    first = len(nodes) + np.concatenate(([0], np.cumsum(parts - 1)[:-1]))
    # Each part of a link begins at the link's start or at a new node, and ends at a new node or at the link's end.
    link = np.repeat(np.arange(len(parts)), parts)
    part = np.arange(len(link)) - np.repeat(np.cumsum(parts) - parts, parts)
    begins = np.where(part == 0, starts[link], first[link] + part - 1)
    finishes = np.where(part == parts[link] - 1, stops[link], first[link] + part)
    new = part > 0
    share = (part / parts[link])[new, None]
    between = nodes[starts[link[new]]] * (1 - share) + nodes[stops[link[new]]] * share
    nodes = np.concatenate([nodes, between])
    length = np.maximum((kms / parts)[link], 1e-6)  # scipy takes a stored zero for a missing link
    one_way = csr_matrix((length, (begins, finishes)), shape=(len(nodes), len(nodes)))
    links = (one_way + one_way.T).tocsr()
    return _Freeways(nodes, links.data, links.indices.astype(np.int32), links.indptr.astype(np.int32))


def _accesses(place: tuple[float, float]) -> tuple[NDArray[np.int64], Floats]:
    """The nodes at which a way from a place may join the freeways, and how far they are by road (km)."""
    nodes = _freeways().nodes
    kms = great_circle_km(*place, nodes[:, 0], nodes[:, 1]) * CIRCUITY
    near = np.argpartition(kms, _ACCESSES)[:_ACCESSES]
    return near, kms[near]


@lru_cache(maxsize=256)
def _tree(place: tuple[float, float]) -> tuple[Floats, NDArray[np.int32]]:
    """Distances (km) from a place to every node, and the node before each on the way: 3 ms."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import dijkstra

    network = _freeways()
    near, kms = _accesses(place)
    order = np.argsort(near)
    # The place is one more node: a last row of the matrix.
    count = len(network.nodes)
    joined = csr_matrix(
        (
            np.concatenate([network.data, np.maximum(kms[order], 1e-6)]),
            np.concatenate([network.indices, near[order].astype(np.int32)]),
            np.append(network.indptr, len(network.indices) + len(near)).astype(np.int32),
        ),
        shape=(count + 1, count + 1),
    )
    distances, before = dijkstra(joined, indices=count, return_predecessors=True)
    return distances, before


def _by_freeway(start: tuple[float, float], end: tuple[float, float]) -> Route | None:
    nodes = _freeways().nodes
    distances, before = _tree(start)
    near, kms = _accesses(end)
    whole = distances[near] + kms
    best = int(np.argmin(whole))
    if not np.isfinite(whole[best]):
        return None
    path, node = [], int(near[best])
    while node < len(nodes):
        path.append(node)
        node = int(before[node])
    path.reverse()
    to_freeway, from_freeway = float(distances[path[0]]), float(kms[best])
    km_at = np.concatenate([[0.0], distances[path], [float(whole[best])]])
    access_s = float(off_freeway_s(to_freeway))
    on_freeway_s = (distances[path] - to_freeway) / FREEWAY_KMH * 3600
    last_s = access_s + on_freeway_s[-1] + float(off_freeway_s(from_freeway))
    seconds_at = np.concatenate([[0.0], access_s + on_freeway_s, [last_s]])
    points = np.concatenate([[start], nodes[path], [end]])
    return _thinned(Route(points, km_at, seconds_at, "freeways"))


def _thinned(route: Route) -> Route:
    """The same way without the points that are nearer to each other than a piece's length."""
    length = max(_PIECE_KM, route.distance_km / 400)
    kept = [0]
    for number in range(1, len(route.km_at) - 1):
        if route.km_at[number] - route.km_at[kept[-1]] >= length:
            kept.append(number)
    kept.append(len(route.km_at) - 1)
    # The ends of the freeway stay: speeds change there.
    chosen = sorted({*kept, 1, len(route.km_at) - 2})
    return Route(route.points[chosen], route.km_at[chosen], route.seconds_at[chosen], route.source)

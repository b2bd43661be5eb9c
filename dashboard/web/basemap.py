"""Writes the files in `data`, which the base map draws: run it anew when scgraph or zipcodes change.

Freeways: the US freeway graph of scgraph (MIT), made from "USA Freeway System" of the U.S. Department of Transportation at
ArcGIS Online. Its 14,591 nodes become chains between crossings, simplified to some 600 m, as differences of 0.001 degrees.
For low zooms all nodes of a cell of 0.08 degrees are one, so that ramps and interchanges vanish.
Cities: the post offices of `zipcodes` (MIT). The number of a city's ZIP codes ranks it: the package has no population.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import zipcodes
from scgraph.geographs.us_freeway import us_freeway_geograph

DATA = Path(__file__).parent / "data"
#: Degrees; half of it is what a pixel covers at zoom 8, the widest at which freeways alone are shown.
TOLERANCE = 0.006
COARSE_CELL = 0.08
CITIES = 420


def chains(graph: list[dict[int, float]]) -> Iterator[list[int]]:
    """The node numbers of each stretch between two nodes that are no mere bend of one road."""
    neighbours: list[set[int]] = [set() for _ in graph]
    for node, arcs in enumerate(graph):
        for other in arcs:
            if other != node:
                neighbours[node].add(other)
                neighbours[other].add(node)
    drawn: set[frozenset[int]] = set()

    def walk(start: int, then: int) -> list[int]:
        chain = [start, then]
        drawn.add(frozenset((start, then)))
        while len(neighbours[chain[-1]]) == 2:
            onward = next(node for node in neighbours[chain[-1]] if node != chain[-2])
            if frozenset((chain[-1], onward)) in drawn:
                break
            drawn.add(frozenset((chain[-1], onward)))
            chain.append(onward)
        return chain

    # crossings and ends first, then the rings that have none
    for node in sorted(range(len(graph)), key=lambda node: len(neighbours[node]) == 2):
        for other in sorted(neighbours[node]):
            if frozenset((node, other)) not in drawn:
                yield walk(node, other)


def simplified(line: list[tuple[float, float]], tolerance: float) -> list[tuple[float, float]]:
    """Douglas and Peucker's: what lies within the tolerance of a straight line is left out."""
    if len(line) < 3:
        return line
    (x0, y0), (x1, y1) = line[0], line[-1]
    length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
    far, at = 0.0, 0
    for index, (x, y) in enumerate(line[1:-1], 1):
        off = (
            abs((x1 - x0) * (y0 - y) - (x0 - x) * (y1 - y0)) / length
            if length
            else ((x - x0) ** 2 + (y - y0) ** 2) ** 0.5
        )
        if off > far:
            far, at = off, index
    if far <= tolerance:
        return [line[0], line[-1]]
    return simplified(line[: at + 1], tolerance)[:-1] + simplified(line[at:], tolerance)


def coarse(nodes: list[list[float]], graph: list[dict[int, float]]) -> tuple[list[list[float]], list[dict[int, float]]]:
    """The graph of the cells: each is at its first node."""
    cells: dict[tuple[int, int], int] = {}
    places: list[list[float]] = []
    cell_of = []
    for latitude, longitude in nodes:
        cell = round(latitude / COARSE_CELL), round(longitude / COARSE_CELL)
        if cell not in cells:
            cells[cell] = len(places)
            places.append([latitude, longitude])
        cell_of.append(cells[cell])
    arcs: list[dict[int, float]] = [{} for _ in places]
    for node, others in enumerate(graph):
        arcs[cell_of[node]] |= {cell_of[other]: length for other, length in others.items()}
    return places, arcs


def lines_of(nodes: list[list[float]], graph: list[dict[int, float]], tolerance: float) -> list[list[int]]:
    """Each line as longitude, latitude and then differences, in thousandths of a degree."""
    lines = []
    for chain in chains(graph):
        flat: list[int] = []
        before = (0, 0)
        for longitude, latitude in simplified([(nodes[node][1], nodes[node][0]) for node in chain], tolerance):
            point = (round(longitude * 1000), round(latitude * 1000))
            if not flat or point != before:
                flat += [point[0] - before[0], point[1] - before[1]]
                before = point
        if len(flat) > 2:
            lines.append(flat)
    return lines


def cities() -> list[list[object]]:
    """Name, state, longitude, latitude of the cities with the most ZIP codes, the largest first."""
    found = defaultdict(list)
    for office in zipcodes.list_all():
        if office["active"] and office["zip_code_type"] == "STANDARD" and office["country"] == "US":
            found[office["city"], office["state"]].append((float(office["long"]), float(office["lat"])))
    largest = sorted(found.items(), key=lambda city: (-len(city[1]), city[0]))[:CITIES]
    # the median, so that one far suburb does not draw the name away
    return [
        [name, state, *(round(sorted(values)[len(values) // 2], 3) for values in zip(*points, strict=True))]
        for (name, state), points in largest
    ]


if __name__ == "__main__":
    DATA.mkdir(exist_ok=True)
    whole = us_freeway_geograph.nodes, us_freeway_geograph.graph
    files: dict[str, Sequence[object]] = {
        "freeways": lines_of(*whole, TOLERANCE),
        "freeways-coarse": lines_of(*coarse(*whole), 4 * TOLERANCE),
        "cities": cities(),
    }
    for name, rows in files.items():
        lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
        (DATA / f"{name}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")

// The offline base map as GeoJSON, made from us-atlas and world-atlas (public domain: U.S. Census Bureau, Natural Earth) and
// from the files in data, which basemap.py writes.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { feature, mesh } from "topojson-client";

// Neighbours are drawn finely, the rest of the world coarsely: nobody charges there.
const FINE = new Set(["124", "484", "044", "192", "320", "084", "340", "388", "332", "214"]);
const USA = "840";
const STATE_CODES = {
  "01": "AL", "02": "AK", "04": "AZ", "05": "AR", "06": "CA", "08": "CO", "09": "CT", 10: "DE", 11: "DC", 12: "FL",
  13: "GA", 15: "HI", 16: "ID", 17: "IL", 18: "IN", 19: "IA", 20: "KS", 21: "KY", 22: "LA", 23: "ME", 24: "MD", 25: "MA",
  26: "MI", 27: "MN", 28: "MS", 29: "MO", 30: "MT", 31: "NE", 32: "NV", 33: "NH", 34: "NJ", 35: "NM", 36: "NY", 37: "NC",
  38: "ND", 39: "OH", 40: "OK", 41: "OR", 42: "PA", 44: "RI", 45: "SC", 46: "SD", 47: "TN", 48: "TX", 49: "UT", 50: "VT",
  51: "VA", 53: "WA", 54: "WV", 55: "WI", 56: "WY", 72: "PR",
};

const rounded = (coordinates, digits) =>
  typeof coordinates[0] === "number"
    ? coordinates.map((value) => Math.round(value * 10 ** digits) / 10 ** digits)
    : coordinates.map((part) => rounded(part, digits));

const made = (geometry, properties, digits = 3) => ({
  type: "Feature",
  properties,
  geometry: { type: geometry.type, coordinates: rounded(geometry.coordinates, digits) },
});

const collection = (features) => ({ type: "FeatureCollection", features });

/** The middle of the largest ring: good enough for a state's name. */
function middle(geometry) {
  const polygons = geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates;
  let best = { area: -1, at: [0, 0] };
  for (const [ring] of polygons) {
    let area = 0;
    let x = 0;
    let y = 0;
    for (let index = 0; index < ring.length - 1; index++) {
      const cross = ring[index][0] * ring[index + 1][1] - ring[index + 1][0] * ring[index][1];
      area += cross;
      x += (ring[index][0] + ring[index + 1][0]) * cross;
      y += (ring[index][1] + ring[index + 1][1]) * cross;
    }
    if (Math.abs(area) > best.area) best = { area: Math.abs(area), at: [x / (3 * area), y / (3 * area)] };
  }
  return best.at;
}

function freewayLine(flat) {
  let [x, y] = [0, 0];
  const line = [];
  for (let index = 0; index < flat.length; index += 2) {
    x += flat[index];
    y += flat[index + 1];
    line.push([x / 1000, y / 1000]);
  }
  return line;
}

/** Douglas and Peucker's, as basemap.py has it: what lies within the tolerance of a straight line is left out. */
function simplified(line, tolerance) {
  if (line.length < 3) return line;
  const keep = new Uint8Array(line.length);
  keep[0] = keep[line.length - 1] = 1;
  const parts = [[0, line.length - 1]];
  while (parts.length) {
    const [from, to] = parts.pop();
    const [[x0, y0], [x1, y1]] = [line[from], line[to]];
    const length = Math.hypot(x1 - x0, y1 - y0);
    let far = tolerance;
    let at = -1;
    for (let index = from + 1; index < to; index++) {
      const [x, y] = line[index];
      const off = length ? Math.abs((x1 - x0) * (y0 - y) - (x0 - x) * (y1 - y0)) / length : Math.hypot(x - x0, y - y0);
      if (off > far) [far, at] = [off, index];
    }
    if (at < 0) continue;
    keep[at] = 1;
    parts.push([from, at], [at, to]);
  }
  return line.filter((_, index) => keep[index]);
}

/** The geometry for low zooms: fewer points, and no islands that are smaller than a pixel. */
function coarse(geometry, tolerance) {
  const small = (ring) => {
    const xs = ring.map(([x]) => x);
    const ys = ring.map(([, y]) => y);
    return Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys)) < 4 * tolerance;
  };
  const ringOf = (ring) => simplified(ring, tolerance);
  const polygon = (rings) => rings.filter((ring) => !small(ring)).map(ringOf);
  switch (geometry.type) {
    case "Polygon":
      return { type: "Polygon", coordinates: polygon(geometry.coordinates) };
    case "MultiPolygon":
      return { type: "MultiPolygon", coordinates: geometry.coordinates.map(polygon).filter((rings) => rings.length) };
    case "MultiLineString":
      return { type: "MultiLineString", coordinates: geometry.coordinates.map(ringOf) };
    default:
      return geometry;
  }
}

const CELL = 4;

/** Lines by cells of four degrees: a tile's worker passes over those that are elsewhere without a look at their points. */
function byCell(lines, properties) {
  const cells = new Map();
  for (const line of lines.coordinates) {
    const cell = line[0].map((value) => Math.floor(value / CELL)).join();
    if (!cells.has(cell)) cells.set(cell, []);
    cells.get(cell).push(line);
  }
  return [...cells.values()].map((coordinates) => made({ type: "MultiLineString", coordinates }, properties));
}

const linesOf = (flats) => ({ type: "MultiLineString", coordinates: flats.map(freewayLine) });

/** `low` is what zooms below six need: it is there at once. `detail` replaces it when somebody comes near. */
export async function baseMap(here) {
  const json = async (...path) => JSON.parse(await readFile(join(here, ...path), "utf8"));
  const states = await json("node_modules", "us-atlas", "states-10m.json");
  const counties = await json("node_modules", "us-atlas", "counties-10m.json");
  const world = await json("node_modules", "world-atlas", "countries-110m.json");
  const near = await json("node_modules", "world-atlas", "countries-50m.json");
  const freeways = await json("data", "freeways.json");
  const coarseFreeways = await json("data", "freeways-coarse.json");
  const cities = await json("data", "cities.json");

  const abroad = feature(world, world.objects.countries).features.filter(({ id }) => id !== USA && !FINE.has(id));
  const neighbours = feature(near, near.objects.countries).features.filter(({ id }) => FINE.has(id));
  const nation = feature(states, states.objects.nation).features[0].geometry;
  const borders = mesh(states, states.objects.states, (a, b) => a !== b);
  const names = [];
  const outlines = [];
  for (const state of feature(states, states.objects.states).features) {
    const code = STATE_CODES[state.id];
    if (!code) continue;
    names.push(made({ type: "Point", coordinates: middle(state.geometry) }, { kind: "state-name", name: state.properties.name }));
    outlines.push([code, state.properties.name, simpleRings(state.geometry)]);
  }
  const cityNames = cities.map(([name, , longitude, latitude], rank) =>
    made({ type: "Point", coordinates: [longitude, latitude] }, { kind: "city-name", name, rank }),
  );
  const far = abroad.map(({ geometry }) => made(coarse(geometry, 0.35), { kind: "abroad" }, 1));
  const low = [
    ...far,
    ...neighbours.map(({ geometry }) => made(coarse(geometry, 0.1), { kind: "abroad" }, 2)),
    made(coarse(nation, 0.045), { kind: "us" }, 2),
    made(coarse(borders, 0.03), { kind: "state" }, 2),
    made(linesOf(coarseFreeways), { kind: "freeway" }, 2),
    ...names,
    ...cityNames.slice(0, 70),
  ];
  const detail = [
    ...far,
    ...neighbours.map(({ geometry }) => made(geometry, { kind: "abroad" }, 2)),
    made(nation, { kind: "us" }),
    ...byCell(mesh(counties, counties.objects.counties, (a, b) => a !== b), { kind: "county" }),
    ...byCell(borders, { kind: "state" }),
    ...byCell(linesOf(freeways), { kind: "freeway" }),
    ...names,
    ...cityNames,
  ];
  return { low: collection(low), detail: collection(detail), outlines };
}

/** Rings in tenths of a degree: they tell in which state a point is, to name a group of stations. */
function simpleRings(geometry) {
  const polygons = geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates;
  const rings = [];
  for (const [ring] of polygons) {
    const flat = [];
    for (const [x, y] of ring) {
      const [a, b] = [Math.round(x * 10), Math.round(y * 10)];
      if (flat.at(-2) !== a || flat.at(-1) !== b) flat.push(a, b);
    }
    if (flat.length >= 8) rings.push(flat);
  }
  return rings;
}

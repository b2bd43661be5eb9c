/** Names for groups of stations, so that the list says where they are: "Southern California". */

/** A state's code, name and rings in tenths of a degree, as longitude, latitude, longitude, … */
type Outline = [string, string, number[][]];

let outlines: Outline[] = [];
let asked: Promise<void> | null = null;

export function loadAreas(): Promise<void> {
  asked ??= fetch("/static/base/outlines.json")
    .then((response) => response.json() as Promise<Outline[]>)
    .then((loaded) => {
      outlines = loaded;
    })
    // without names, coordinates tell where a group is
    .catch(() => undefined);
  return asked;
}

function inside(ring: number[], x: number, y: number): boolean {
  let within = false;
  for (let at = 0, before = ring.length - 2; at < ring.length; before = at, at += 2) {
    const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] = [ring[at], ring[at + 1], ring[before], ring[before + 1]];
    if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) within = !within;
  }
  return within;
}

function part(rings: number[][], x: number, y: number): string {
  let [west, east, south, north] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const ring of rings) {
    for (let at = 0; at < ring.length; at += 2) {
      west = Math.min(west, ring[at] ?? west);
      east = Math.max(east, ring[at] ?? east);
      south = Math.min(south, ring[at + 1] ?? south);
      north = Math.max(north, ring[at + 1] ?? north);
    }
  }
  const up = (y - south) / (north - south || 1);
  const over = (x - west) / (east - west || 1);
  // small states need no parts
  if (Math.max(north - south, east - west) < 25) return "";
  const vertical = up > 0.66 ? "Northern" : up < 0.34 ? "Southern" : "";
  if (vertical) return vertical;
  return over > 0.66 ? "Eastern" : over < 0.34 ? "Western" : "Central";
}

export function areaName(lat: number, lon: number): string {
  const [x, y] = [lon * 10, lat * 10];
  for (const [, name, rings] of outlines) {
    if (rings.some((ring) => inside(ring, x, y))) {
      const where = part(rings, x, y);
      return where ? `${where} ${name}` : name;
    }
  }
  return `${Math.abs(lat).toFixed(1)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(lon).toFixed(1)}° ${lon < 0 ? "W" : "E"}`;
}

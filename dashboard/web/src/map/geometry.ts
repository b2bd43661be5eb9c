/** Web Mercator as far as a page needs it before, or without, MapLibre. */

export interface Box {
  west: number;
  south: number;
  east: number;
  north: number;
}

export interface Place {
  lat: number;
  lon: number;
}

const TILE = 512;
const MAX_LAT = 85;
const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value));

const toY = (lat: number): number => {
  const sin = Math.sin((clamp(lat, -MAX_LAT, MAX_LAT) * Math.PI) / 180);
  return 0.5 - Math.log((1 + sin) / (1 - sin)) / (4 * Math.PI);
};
const toLat = (y: number): number => (Math.atan(Math.sinh(Math.PI * (1 - 2 * y))) * 180) / Math.PI;

/** What a map of this size shows around a centre. */
export function boxAround(center: Place, zoom: number, width: number, height: number): Box {
  const world = TILE * 2 ** zoom;
  const x = (center.lon + 180) / 360;
  const y = toY(center.lat);
  return {
    west: clamp((x - width / 2 / world) * 360 - 180, -180, 180),
    east: clamp((x + width / 2 / world) * 360 - 180, -180, 180),
    north: clamp(toLat(y - height / 2 / world), -MAX_LAT, MAX_LAT),
    south: clamp(toLat(y + height / 2 / world), -MAX_LAT, MAX_LAT),
  };
}

/** The centre and zoom at which a box fits. */
export function fitting(box: Box, width: number, height: number, padding = 40): { center: Place; zoom: number } {
  const [top, bottom] = [toY(box.north), toY(box.south)];
  const across = Math.max((box.east - box.west) / 360, 1e-9);
  const down = Math.max(bottom - top, 1e-9);
  const zoom = Math.log2(Math.min((width - 2 * padding) / across, (height - 2 * padding) / down) / TILE);
  return {
    center: { lon: (box.west + box.east) / 2, lat: toLat((top + bottom) / 2) },
    zoom: clamp(Number.isFinite(zoom) ? zoom : 3, 2, 12),
  };
}

/** The box made larger by a share of its size on each side. */
export function padded(box: Box, share: number): Box {
  const x = (box.east - box.west) * share;
  const y = (box.north - box.south) * share;
  return {
    west: clamp(box.west - x, -180, 180),
    east: clamp(box.east + x, -180, 180),
    south: clamp(box.south - y, -MAX_LAT, MAX_LAT),
    north: clamp(box.north + y, -MAX_LAT, MAX_LAT),
  };
}

export const within = (inner: Box, outer: Box): boolean =>
  inner.west >= outer.west && inner.east <= outer.east && inner.south >= outer.south && inner.north <= outer.north;

export const holds = (box: Box, place: Place): boolean =>
  place.lon >= box.west && place.lon <= box.east && place.lat >= box.south && place.lat <= box.north;

/** Great-circle kilometres. */
export function distanceKm(a: Place, b: Place): number {
  const rad = Math.PI / 180;
  const half =
    Math.sin(((b.lat - a.lat) * rad) / 2) ** 2 +
    Math.cos(a.lat * rad) * Math.cos(b.lat * rad) * Math.sin(((b.lon - a.lon) * rad) / 2) ** 2;
  return 2 * 6371.0088 * Math.asin(Math.min(1, Math.sqrt(half)));
}

/** As the API's parameters, to about a metre. */
export const boxParams = (box: Box): Record<"west" | "south" | "east" | "north", string> => ({
  west: box.west.toFixed(5),
  south: box.south.toFixed(5),
  east: box.east.toFixed(5),
  north: box.north.toFixed(5),
});

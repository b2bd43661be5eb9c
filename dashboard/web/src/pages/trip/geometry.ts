/** Points on the globe for the trip's map. */
import type { Coordinates, TripAnswer } from "./answer";

const EARTH_KM = 6371;
const RADIANS = Math.PI / 180;
/** Roads are about this much longer than the straight line (the planner's own factor). */
export const ROAD_FACTOR = 1.3;

/** A circle as a closed ring of longitude and latitude. */
export function circle(centre: Coordinates, radiusKm: number, corners = 72): Coordinates[] {
  const [longitude, latitude] = [centre[0] * RADIANS, centre[1] * RADIANS];
  const angle = radiusKm / EARTH_KM;
  return Array.from({ length: corners + 1 }, (_, index) => {
    const bearing = ((index % corners) / corners) * 2 * Math.PI;
    const lat = Math.asin(
      Math.sin(latitude) * Math.cos(angle) + Math.cos(latitude) * Math.sin(angle) * Math.cos(bearing),
    );
    const lon =
      longitude +
      Math.atan2(
        Math.sin(bearing) * Math.sin(angle) * Math.cos(latitude),
        Math.cos(angle) - Math.sin(latitude) * Math.sin(lat),
      );
    return [lon / RADIANS, lat / RADIANS];
  });
}

/** West, south, east and north around all points. */
export function boundsOf(points: Coordinates[]): [number, number, number, number] | null {
  if (!points.length) return null;
  const longitudes = points.map(([longitude]) => longitude);
  const latitudes = points.map(([, latitude]) => latitude);
  return [Math.min(...longitudes), Math.min(...latitudes), Math.max(...longitudes), Math.max(...latitudes)];
}

/** Everything that a plan draws. */
export function pointsOf(answer: TripAnswer): Coordinates[] {
  const alternatives = answer.stops.flatMap((stop) => (stop.alternative ? [stop.alternative] : []));
  const places = [answer.from, answer.to, ...answer.stops, ...alternatives];
  return [...answer.legs.flatMap((leg) => leg.path), ...places.map((place): Coordinates => [place.lon, place.lat])];
}

/** The corners of the profile of the state of charge. */
import type { Leg } from "./answer";

export interface ProfilePoint {
  km: number;
  percent: number;
}

/** The corners of the profile: two for each leg, so that a stop is a step straight up. */
export function profilePoints(legs: Leg[]): ProfilePoint[] {
  const points: ProfilePoint[] = [];
  let km = 0;
  for (const leg of legs) {
    points.push({ km, percent: leg.soc_start });
    km += leg.distance_km;
    points.push({ km, percent: leg.soc_end });
  }
  return points;
}

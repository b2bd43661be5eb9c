/** Kilometres or miles, chosen by the reader and not by the language; the first guess is miles in the United States. */
import { remember, remembered } from "./storage";

export type Units = "km" | "mi";
export const KM_PER_MILE = 1.609344;

const guess = (): Units => (/-(US|GB|LR|MM)$/i.test(navigator.language) ? "mi" : "km");
let current: Units = remembered<string>("units", guess()) === "mi" ? "mi" : "km";
const listeners = new Set<(units: Units) => void>();

export const units = (): Units => current;

export function setUnits(next: Units): void {
  if (next === current) return;
  current = next;
  remember("units", next);
  for (const listener of listeners) listener(next);
}

export function onUnits(listener: (units: Units) => void): void {
  listeners.add(listener);
}

/** "12 km", "0.8 mi"; a dash where it is not known. */
export function distance(km: number | null | undefined): string {
  if (km === null || km === undefined) return "–";
  const value = current === "mi" ? km / KM_PER_MILE : km;
  return `${value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en-US")} ${current}`;
}

export function speed(kmh: number | null | undefined): string {
  if (kmh === null || kmh === undefined) return "–";
  return current === "mi" ? `${Math.round(kmh / KM_PER_MILE)} mph` : `${Math.round(kmh)} km/h`;
}

/** "18.2 kWh/100 km", or "3.4 mi/kWh" as the United States say it. */
export function consumption(kwhPer100km: number | null | undefined): string {
  if (!kwhPer100km) return "–";
  return current === "mi"
    ? `${(100 / kwhPer100km / KM_PER_MILE).toFixed(1)} mi/kWh`
    : `${kwhPer100km.toFixed(1)} kWh/100 km`;
}

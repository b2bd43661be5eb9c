/** "Tell me when it is free": a notification when a busy station gets a free outlet, and other stations while it does not. */
import { announce, toast } from "../lib/announce";
import { get } from "../lib/api";
import { connector, power } from "../lib/format";
import { remember, remembered } from "../lib/storage";
import type { MapAnswer, MapStation } from "../lib/types";
import { distance } from "../lib/units";
import { type Filters, filterParams, NO_FILTERS } from "./filters";
import { boxParams, distanceKm, type Place } from "./geometry";

/** The outlets that the driver can use. */
export type Outlets = Pick<Filters, "connector" | "minPowerKw" | "maxPowerKw">;

export interface Watch extends Outlets {
  id: string;
  name: string;
  lat: number;
  lon: number;
  since: number;
  /** When other stations were last shown. */
  offered: number;
}

const NAME = "watches";
const OFFER_EVERY_MS = 10 * 60_000;
/** Nobody waits for a charger longer than that. */
const FORGET_MS = 12 * 3_600_000;
/** Other stations are looked for within the first, which even a city answers one by one, then within the second. */
const NEAR_KM = [5, 25] as const;
/** So far around a place only its own stations are. */
const HERE_KM = 0.2;
/** After this the answer that tells is asked for again, where none came. */
const ASK_AGAIN_MS = 10_000;

const listeners = new Set<() => void>();
export const onWatches = (listener: () => void): void => void listeners.add(listener);

const ANY: Outlets = { connector: "", minPowerKw: null, maxPowerKw: null };

export function watches(): Watch[] {
  const saved = remembered<unknown>(NAME, []);
  if (!Array.isArray(saved)) return [];
  return (saved as Watch[])
    .filter((watch) => typeof watch?.id === "string" && Date.now() - watch.since < FORGET_MS)
    .slice(0, 50)
    .map((watch) => ({ ...ANY, ...watch }));
}

function keep(next: Watch[]): void {
  remember(NAME, next);
  for (const listener of listeners) listener();
}

export const isWatched = (id: string): boolean => watches().some((watch) => watch.id === id);

const titleOf = (station: { name: string | null; id: string }): string => station.name ?? station.id;

const isAny = ({ connector: type, minPowerKw, maxPowerKw }: Outlets): boolean => !type && !minPowerKw && maxPowerKw === null;

/** "outlets", "CCS outlets of at least 50 kW". */
export function outletsInWords({ connector: type, minPowerKw, maxPowerKw }: Outlets): string {
  const kind = type ? `${connector(type)} outlets` : "outlets";
  if (minPowerKw && maxPowerKw !== null) return `${kind} of ${power(minPowerKw)} to ${power(maxPowerKw)}`;
  if (minPowerKw) return `${kind} of at least ${power(minPowerKw)}`;
  return maxPowerKw === null ? kind : `${kind} of at most ${power(maxPowerKw)}`;
}

/** The map's answer within `km` of a place, of the wanted outlets alone. */
function around(place: Place, km: number, { connector: type, minPowerKw, maxPowerKw }: Outlets, freeNow = false): Promise<MapAnswer> {
  const high = km / 111;
  const wide = high / Math.max(0.2, Math.cos((place.lat * Math.PI) / 180));
  const box = { west: place.lon - wide, east: place.lon + wide, south: place.lat - high, north: place.lat + high };
  const filters = filterParams({ ...NO_FILTERS, connector: type, minPowerKw, maxPowerKw, freeNow });
  return get<MapAnswer>("/stations", { ...boxParams(box), zoom: 14, ...filters });
}

/** The station with the wanted outlets alone; none where it has no such outlet. */
async function withWanted(station: MapStation, wanted: Outlets): Promise<MapStation | undefined> {
  const answer = await around(station, HERE_KM, wanted);
  return answer.stations.find(({ id }) => id === station.id);
}

/** Free stations nearby, the nearest first; null where it is not known which are free. */
async function alternatives(watch: Watch): Promise<MapStation[] | null> {
  for (const km of NEAR_KM) {
    const answer = await around(watch, km, watch, true);
    if (answer.stale) return null;
    const near = answer.stations
      .filter((station) => station.id !== watch.id && station.state === "free")
      .sort((a, b) => distanceKm(a, watch) - distanceKm(b, watch));
    if (near.length) return near.slice(0, 2);
    // too many to be named
    if (answer.mode === "clusters") return null;
  }
  return [];
}

/** Says that it is full and what is free nearby, and `more` in the same message: two would cover a phone's map. */
async function offer(watch: Watch, more = ""): Promise<void> {
  // other stations are an extra: the watch goes on without them
  const near = await alternatives(watch).catch(() => null);
  const [first] = near ?? [];
  const full = isAny(watch) ? "full" : `full (${outletsInWords(watch)})`;
  if (first && near) {
    const words = near.map((station) => `${titleOf(station)} (${distance(distanceKm(station, watch))})`).join(", ");
    toast(`${watch.name} is still ${full}. Free nearby: ${words}. ${more}`.trim(), {
      action: { label: `Show ${titleOf(first)}`, href: `/stations/${encodeURIComponent(first.id)}` },
      seconds: 20,
    });
  } else if (near) toast(`${watch.name} is ${full}, and so is everything within ${distance(NEAR_KM[1])}. ${more}`.trim());
  else if (more) toast(more);
}

function tell(watch: Watch, station: MapStation): void {
  const words = `${watch.name} is free: ${station.free} of ${station.total} ${outletsInWords(watch)}.`;
  toast(words, { kind: "good", seconds: 0, action: { label: "Open", href: `/stations/${encodeURIComponent(watch.id)}` } });
  if ("Notification" in window && Notification.permission === "granted") {
    try {
      const note = new Notification("A charger is free", { body: words, tag: watch.id, icon: "/static/icon.svg" });
      note.onclick = () => {
        window.focus();
        location.href = `/stations/${encodeURIComponent(watch.id)}`;
      };
    } catch {
      // some phones allow notifications from service workers only: the toast has told it
    }
  }
}

/** Asks for permission to notify where that is open, and says what is to be expected now. */
function expectation(name: string): string {
  const permission = "Notification" in window ? Notification.permission : "denied";
  // nobody waits for the reader's choice: some browsers never answer where notifications are off by policy
  if (permission === "default") void Notification.requestPermission();
  return permission === "granted"
    ? `You get a notification when ${name} is free, while this page is open.`
    : `This page tells you when ${name} is free.`;
}

/** Starts or ends a watch for the outlets that are wanted. Asks for permission to notify; without it, the page itself tells. */
export async function toggleWatch(station: MapStation, wanted: Outlets = ANY): Promise<boolean> {
  const now = watches();
  if (now.some((watch) => watch.id === station.id)) {
    keep(now.filter((watch) => watch.id !== station.id));
    announce(`No longer waiting for ${titleOf(station)}`);
    return false;
  }
  const { connector: type, minPowerKw, maxPowerKw } = wanted;
  const watch: Watch = {
    id: station.id,
    name: titleOf(station),
    lat: station.lat,
    lon: station.lon,
    since: Date.now(),
    offered: Date.now(),
    connector: type,
    minPowerKw,
    maxPowerKw,
  };
  keep([...now, watch]);
  const expected = expectation(watch.name);
  // a favourite is listed though it may have no outlet of the filter: then any will do
  if (!station.fits && !isAny(wanted) && !(await withWanted(station, wanted).catch(() => station))) {
    Object.assign(watch, ANY);
    keep(watches().map((one) => (one.id === watch.id ? watch : one)));
  }
  void offer(watch, expected);
  return true;
}

const asked = new Set<string>();

/**
 * Looks at a pushed or asked station: is it one that somebody waits for?
 * A push has all outlets, and an answer of the map those of the map's filter (`isPartial`). Where they are not the wanted
 * ones, a free outlet among them is only a reason to ask.
 */
export async function seen(station: MapStation, isPartial = false): Promise<void> {
  const watch = watches().find((one) => one.id === station.id);
  if (!watch || asked.has(watch.id)) return;
  const isFree = station.state === "free" && station.free > 0;
  if (!isFree) return offerAgain(watch);
  if (!isPartial && isAny(watch)) return found(watch, station);
  asked.add(watch.id);
  try {
    const usable = await withWanted(station, watch);
    asked.delete(watch.id);
    if (usable?.state === "free" && usable.free > 0) found(watch, usable);
    else offerAgain(watch);
  } catch {
    setTimeout(() => {
      asked.delete(watch.id);
      void seen(station, true);
    }, ASK_AGAIN_MS);
  }
}

function found(watch: Watch, station: MapStation): void {
  const now = watches();
  // it may have ended meanwhile, and another may have begun
  if (!now.some((one) => one.id === watch.id && one.since === watch.since)) return;
  keep(now.filter((one) => one.id !== watch.id));
  tell(watch, station);
}

function offerAgain(watch: Watch): void {
  if (Date.now() - watch.offered <= OFFER_EVERY_MS) return;
  const next = { ...watch, offered: Date.now() };
  remember(NAME, watches().map((one) => (one.id === watch.id ? next : one)));
  void offer(next);
}

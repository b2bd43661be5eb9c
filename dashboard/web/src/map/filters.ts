/** What the reader wants to see: kept in the page's URL, saved by name, and asked of the API. */
import { type Params } from "../lib/api";
import { remember, remembered } from "../lib/storage";
import type { MapStation } from "../lib/types";

export interface Filters {
  connector: string;
  minPowerKw: number | null;
  maxPowerKw: number | null;
  minFree: number | null;
  network: string;
  freeNow: boolean;
  likelyFreeInMin: number | null;
}

export const NO_FILTERS: Filters = {
  connector: "",
  minPowerKw: null,
  maxPowerKw: null,
  minFree: null,
  network: "",
  freeNow: false,
  likelyFreeInMin: null,
};

const positive = (text: string | null, most: number): number | null => {
  const value = Number(text);
  return text !== null && text !== "" && Number.isFinite(value) && value >= 0 && value <= most ? value : null;
};

/** The API's parameters, which are the page's too. */
export const filterParams = (filters: Filters): Params => ({
  connector: filters.connector,
  min_power_kw: filters.minPowerKw,
  max_power_kw: filters.maxPowerKw,
  min_free: filters.minFree,
  network: filters.network,
  free_now: filters.freeNow,
  likely_free_in_min: filters.likelyFreeInMin,
});

export function filtersOf(search: URLSearchParams): Filters {
  return {
    connector: (search.get("connector") ?? "").slice(0, 60),
    minPowerKw: positive(search.get("min_power_kw"), 5000),
    maxPowerKw: positive(search.get("max_power_kw"), 5000),
    minFree: positive(search.get("min_free"), 8),
    network: (search.get("network") ?? "").slice(0, 120),
    freeNow: search.get("free_now") === "true",
    likelyFreeInMin: positive(search.get("likely_free_in_min"), 240),
  };
}

export const countOf = (filters: Filters): number =>
  Object.values(filterParams(filters)).filter((value) => value !== "" && value !== null && value !== false).length;

/** Whether the shown outlets are only some of a station's: then a pushed station, which has all, cannot be taken as it is. */
export const selectsOutlets = (filters: Filters): boolean =>
  Boolean(filters.connector || filters.minPowerKw || filters.maxPowerKw !== null || filters.likelyFreeInMin !== null);

/** Whether a pushed station fits, where `selectsOutlets` is false. */
export const fits = (filters: Filters, station: MapStation): boolean =>
  (!filters.network || station.network === filters.network) &&
  (!filters.freeNow || station.free > 0) &&
  (filters.minFree === null || station.free >= filters.minFree);

const PROFILES = "profiles";
export type Profiles = Record<string, Filters>;

export function profiles(): Profiles {
  const saved = remembered<unknown>(PROFILES, {});
  if (typeof saved !== "object" || saved === null) return {};
  const known: Profiles = {};
  for (const [name, filters] of Object.entries(saved)) {
    if (typeof filters === "object" && filters) known[name] = { ...NO_FILTERS, ...(filters as Partial<Filters>) };
  }
  return known;
}

export const saveProfile = (name: string, filters: Filters): void => remember(PROFILES, { ...profiles(), [name]: filters });

export function removeProfile(name: string): void {
  const rest = profiles();
  delete rest[name];
  remember(PROFILES, rest);
}

const MOST_FAVOURITES = 200;

export function favourites(): Set<string> {
  const saved = remembered<unknown>("favourites", []);
  return new Set(Array.isArray(saved) ? saved.filter((id) => typeof id === "string").slice(0, MOST_FAVOURITES) : []);
}

export function setFavourite(id: string, wanted: boolean): Set<string> {
  const now = favourites();
  if (wanted) now.add(id);
  else now.delete(id);
  remember("favourites", [...now]);
  return now;
}

/** The API's answers, as far as the pages read them. */

export type State = "free" | "busy" | "blocked" | "broken" | "planned" | "unknown";
export const STATES: readonly State[] = ["free", "busy", "blocked", "broken", "planned", "unknown"];
export type Counts = Record<State, number>;

export interface Fresh {
  state_as_of: string | null;
  age_s: number | null;
  stale: boolean;
  note?: string | null;
}

/** A station on the map. */
export interface MapStation {
  id: string;
  name: string | null;
  city: string | null;
  state_code: string | null;
  lat: number;
  lon: number;
  state: State;
  free: number;
  total: number;
  power_kw: number | null;
  connectors: string[];
  network: string | null;
  queue_length: number | null;
  last_event_at: string | null;
  remark: string | null;
  likely_free: number | null;
  /** False only of a favourite that the filter leaves out. */
  fits: boolean;
}

/** Stations that are close together at a low zoom, with their counts by state. */
export interface MapCluster extends Counts {
  key: string;
  lat: number;
  lon: number;
  count: number;
  west: number;
  south: number;
  east: number;
  north: number;
}

export interface MapAnswer extends Fresh {
  total: number;
  mode: "stations" | "clusters";
  truncated: boolean;
  counts: Counts;
  stations: MapStation[];
  clusters: MapCluster[];
}

export interface Vehicle {
  id: string;
  lat: number;
  lon: number;
  heading: number | null;
  speed_kmh: number | null;
  ignition: boolean | string | null;
  state_of_charge: number | null;
  range_km: number | null;
  destination_station_id: string | null;
  ev_model_id: string | null;
  occurred_at: string | null;
}

export interface Place {
  name: string;
  kind: "place" | "zip" | "coordinates" | "station";
  state_code: string | null;
  lat: number;
  lon: number;
  station_id?: string | null;
}

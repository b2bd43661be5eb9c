/** What the interface answers about a trip. Times are in seconds, states of charge in percent. */

import type { State } from "../../shell";

export interface Place {
  name: string;
  kind?: string;
  state_code?: string | null;
  lat: number;
  lon: number;
  station_id?: string | null;
}

export type Coordinates = [longitude: number, latitude: number];

export interface Leg {
  /** Names of the places at both ends. */
  from: string;
  to: string;
  distance_km: number;
  drive_s: number;
  energy_kwh: number;
  soc_start: number;
  soc_end: number;
  /** The least with which the leg has to end. */
  soc_needed?: number;
  feasible: boolean;
  path: Coordinates[];
}

export interface Stop {
  station_id: string;
  name: string;
  lat: number;
  lon: number;
  city?: string | null;
  connector_type: string | null;
  power_kw: number | null;
  /** The station's state now, as the map says it. */
  state?: State;
  is_known?: boolean;
  free?: number;
  total?: number;
  arrive_at: string | null;
  soc_arrive: number;
  soc_leave: number;
  charge_s: number;
  expected_wait_s: number | null;
  probability_free: number | null;
  energy_kwh: number;
  alternative?: (Stop & { extra_s: number }) | null;
}

export interface EvModel {
  ev_model_id: string;
  make: string;
  model: string;
  usable_kwh: number;
  dc_kw: number | null;
  ac_kw: number | null;
  consumption_kwh_per_100km: number;
  connector_types: string[];
}

export interface TripAnswer {
  from: Place;
  to: Place;
  model: Partial<EvModel> | null;
  distance_km: number;
  distance_is_estimate: boolean;
  road_source: string;
  drive_s: number;
  charge_s: number;
  wait_s: number;
  total_s: number;
  energy_kwh: number;
  feasible: boolean;
  failing_leg: (Leg & { number: number; reason: string | null }) | null;
  path: Coordinates[];
  legs: Leg[];
  stops: Stop[];
  departs_at: string | null;
  arrives_at: string | null;
  note: string | null;
  state_as_of: string | null;
  age_s: number | null;
  stale: boolean;
}

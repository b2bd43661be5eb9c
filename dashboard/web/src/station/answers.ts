/** The API's answers about one station. */
import type { Fresh, MapStation, State } from "../lib/types";

export interface RunningSession {
  session_id: string;
  started_at: string;
  expected_end_at: string | null;
  energy_delivered_kwh: number;
  power_kw: number | null;
  state_of_charge: number | null;
  ev_model_id: string | null;
}

export interface EvseNow {
  evse_id: string;
  connector_type: string | null;
  power_kw: number | null;
  status: string;
  since_at: string | null;
  session: RunningSession | null;
}

export interface Usage {
  sessions: number;
  energy_kwh: number;
  occupied_minutes: number;
  waits: number;
  faults: number;
}

export interface Day {
  date: string;
  time_zone: string;
  kind: string;
  typical_days: number;
  note: string | null;
  hours: { hour: number; today: Usage | null; is_final: boolean; typical: Usage | null }[];
}

export interface InboundCar {
  vehicle_id: string;
  ev_model_id: string | null;
  by?: string;
  distance_km: number;
  eta_minutes: number;
  state_of_charge: number | null;
  range_km: number | null;
}

export interface StationAnswer extends Fresh {
  station_id: string;
  station_name: string | null;
  city: string | null;
  /** The map's word for its state; the state it lies in is `state_code`. */
  state: State | string;
  state_code?: string | null;
  network: string | null;
  source: string | null;
  latitude: number | null;
  longitude: number | null;
  availability: string;
  remark: string | null;
  total_outlets: number;
  free_outlets: number;
  unknown_outlets: number;
  outlets: { connector_type: string | null; power_kw: number | null; total: number; free: number }[];
  queue_length: number | null;
  last_event_at: string | null;
  last_change_at: string | null;
  time_zone: string;
  evses: EvseNow[];
  today: Day | null;
  inbound?: InboundCar[];
  inbound_note?: string | null;
}

export interface ForecastPoint {
  in_min: number;
  at: string;
  probability_free: number;
  expected_wait_s: number | null;
  expected_free: number;
  low: number | null;
  high: number | null;
}

interface HorizonScore {
  minutes: number;
  samples: number;
  brier_skill: number | null;
  ece: number;
}

export interface ForecastAnswer extends Fresh {
  connector_type: string | null;
  outlets: number;
  source: string;
  model: { version: string; trained_at: string | null; trained_on: unknown };
  score: { horizons?: HorizonScore[] } | null;
  points: ForecastPoint[];
}

export interface HistoryDay {
  date: string;
  sessions: number | null;
  energy_kwh: number | null;
  occupied_minutes: number | null;
  failed_starts: number | null;
  waits: number | null;
  faults: number | null;
  utilisation: number | null;
}

export interface HistoryAnswer {
  days: HistoryDay[];
  time_zone: string;
  note: string | null;
}

const WORDS: readonly string[] = ["free", "busy", "blocked", "broken", "planned", "unknown"];

/** The station as the map knows it, for the card's marks and the watch. */
export function asMapStation(answer: StationAnswer): MapStation {
  const powers = answer.outlets.flatMap((outlets) => (outlets.power_kw === null ? [] : [outlets.power_kw]));
  return {
    id: answer.station_id,
    name: answer.station_name,
    city: answer.city,
    state_code: answer.state_code ?? null,
    lat: answer.latitude ?? 0,
    lon: answer.longitude ?? 0,
    state: WORDS.includes(answer.state) ? (answer.state as State) : "unknown",
    free: answer.free_outlets,
    total: answer.total_outlets,
    power_kw: powers.length ? Math.max(...powers) : null,
    connectors: [...new Set(answer.outlets.flatMap((outlets) => (outlets.connector_type ? [outlets.connector_type] : [])))],
    network: answer.network,
    queue_length: answer.queue_length,
    last_event_at: answer.last_event_at,
    remark: answer.remark,
    likely_free: null,
    fits: true,
  };
}

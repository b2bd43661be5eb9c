/** What the interface answers about the platform's own state. */

export interface Feed {
  name: string;
  topic: string | null;
  /** When its newest message happened; null where nobody keeps that. */
  last_at: string | null;
  /** Up to when the stream has read it. */
  as_of: string | null;
  age_s: number | null;
  lag: number | null;
  state: string;
  detail: string | null;
}

export interface Store {
  name: string;
  state: string;
  detail: string | null;
  as_of: string | null;
}

export interface Coming {
  what: string;
  state: string;
  detail: string | null;
}

/** A range that failed as often as a range is tried. */
export interface Parked {
  topic: string;
  range: string;
  attempts: number;
  parked_at: string | null;
  /** The failed run in Dagster. */
  url: string;
  /** What releases it. */
  command: string;
}

export interface Disk {
  free_bytes: number | null;
  total_bytes: number | null;
  /** With less than this free, nothing is sent, published or loaded. */
  reserve_bytes: number;
  home_bytes: number | null;
}

export interface StatusAnswer {
  now: string;
  feeds: Feed[];
  stores: Store[];
  lake: {
    last_merge_at: string | null;
    commit: string | null;
    unpublished_rows: number | null;
    quarantined_rows: number | null;
    parked: Parked[];
    topics: { topic: string; last_merge_at: string | null; commit: string | null }[];
    note: string | null;
  };
  warehouse: {
    last_loaded_day: string | null;
    last_loaded_at: string | null;
    pending_days: string[] | null;
    note: string | null;
  };
  disk: Disk;
  coming: Coming[];
  links: { title: string; url: string }[];
  note: string | null;
}

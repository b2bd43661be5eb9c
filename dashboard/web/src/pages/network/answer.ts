/** What the interface answers about an operator's network. */

export type Cell = string | number | boolean | null;

export interface NetworkColumn {
  key: string;
  title: string;
  unit: string | null;
}

export interface NetworkTable {
  title: string;
  columns: NetworkColumn[];
  rows: Cell[][];
  /** There are more rows; the CSV has them. */
  truncated?: boolean;
}

/** How many sessions had to wait, by station and local hour. */
export interface Heatmap {
  hours: number[];
  rows: { station_id: string; name: string | null; waits: (number | null)[] }[];
}

export interface NetworkAnswer {
  question: Record<string, unknown>;
  data_to: string | null;
  note: string | null;
  networks: string[];
  states: string[];
  summary: Record<string, number | string | null>;
  tables: Record<string, NetworkTable>;
  heatmap: Heatmap | null;
  utilisation: Record<string, unknown> | null;
}

/** The operator's tables, each with its CSV. */
import { API, h, number, plural, query, table, type Params } from "../../shell";
import type { Cell, NetworkColumn, NetworkTable } from "./answer";
import { cellText } from "./figures";

/** What a table needs to be understood. */
const EXPLANATIONS: Record<string, string> = {
  uptime:
    "By 23 CFR 680.116(b), for each port over the previous twelve months: (525,600 − (minutes of outage − minutes excluded)) ÷ 525,600. " +
    "It has to be above 97 %. An outage begins with a session that a fault ended and lasts until the next session at the port, so it is at " +
    "most as long as shown. Excluded is what the utility’s network caused.",
  silent_stations:
    "They are open by the registry. A silent station may still charge: nobody used it, or nobody said so.",
  data_quality:
    "Sessions that break a rule over loaded days. They stay in the archive; what broke a rule of a single row is in the quarantine.",
};

/** Short names for the links to the tables. */
export const SHORT_TITLES: Record<string, string> = {
  by_power_class: "Power",
  stations: "Stations",
  silent_stations: "Silent",
  faults: "Faults",
  uptime: "Uptime",
  monthly: "Months",
  hours: "Hours",
  data_quality: "Data quality",
};

/** Columns in which "yes" is bad news. */
const BAD_IF_TRUE: ReadonlySet<string> = new Set(["is_out"]);

/** Rows beyond these scroll inside the table. */
const TALL_ROWS = 12;

export function csvLink(key: string, title: string, params: Params): HTMLElement {
  return h(
    "a",
    {
      class: "button button-small csv",
      href: `${API}/network/${encodeURIComponent(key)}.csv${query(params)}`,
      download: `${key}.csv`,
      "data-csv": key,
    },
    "CSV",
    h("span", { class: "visually-hidden" }, ` of ${title}`),
  );
}

export function networkTable(key: string, data: NetworkTable, params: Params): HTMLElement {
  const id = `table-${key}`;
  const explanation = EXPLANATIONS[key];
  const grid = table<Cell[]>({
    caption: `${data.title}: ${plural(data.rows.length, "row")}`,
    hideCaption: true,
    empty: "Nothing in this period.",
    rows: data.rows,
    columns: data.columns.map((column, index) => ({
      key: column.key,
      title: column.title,
      unit: column.unit,
      numeric: isNumeric(data.rows, index),
      sort: (row: Cell[]) => sortable(row[index] ?? null),
      cell: (row: Cell[]) => cell(column, row, index, data.columns),
    })),
  });
  grid.classList.toggle("table-tall", data.rows.length > TALL_ROWS);
  grid.querySelector("table")?.setAttribute("data-table", key);
  return h(
    "section",
    { class: "card network-table", id, "aria-labelledby": `${id}-title` },
    h(
      "div",
      { class: "table-head" },
      h("h3", { id: `${id}-title` }, data.title),
      h(
        "span",
        { class: "muted small" },
        data.truncated ? `the first ${number(data.rows.length)}; the CSV has all` : number(data.rows.length),
      ),
      csvLink(key, data.title, params),
    ),
    explanation ? h("p", { class: "muted small" }, explanation) : null,
    grid,
  );
}

function isNumeric(rows: Cell[][], index: number): boolean {
  const known = rows.map((row) => row[index]).filter((value) => value !== null && value !== undefined);
  return known.length > 0 && known.every((value) => typeof value === "number");
}

function sortable(value: Cell): number | string | null {
  return typeof value === "boolean" ? Number(value) : value;
}

function cell(column: NetworkColumn, row: Cell[], index: number, columns: NetworkColumn[]): Node | string {
  const value = row[index] ?? null;
  const text = cellText(column, value);
  if (column.key === "name") {
    const stationId = row[columns.findIndex((other) => other.key === "station_id")];
    if (typeof stationId === "string")
      return h("a", { href: `/stations/${encodeURIComponent(stationId)}` }, text || stationId);
  }
  if (typeof value === "boolean") {
    const isGood = value !== BAD_IF_TRUE.has(column.key);
    return h("span", { class: isGood ? "yes-no-good" : "yes-no-bad" }, `${isGood ? "✓" : "✕"} ${text}`);
  }
  return text;
}

/** Figures as text by their unit, which the interface gives with each column and in a key's name. */
import { dateTime, duration, energy, number } from "../../shell";
import type { Cell, NetworkColumn, NetworkTable } from "./answer";

/** The figure of a tile, with its unit. */
export function figure(key: string, value: Cell | undefined): string {
  if (typeof value !== "number") return "–";
  if (key.endsWith("_percent")) return `${number(value, 1)} %`;
  if (key.endsWith("_kwh")) return energy(value);
  if (key.endsWith("_min")) return duration(value * 60);
  if (key.endsWith("_h")) return `${number(value)} h`;
  return number(value);
}

/** A cell without its unit, which is in the column's head. */
export function cellText(column: NetworkColumn, value: Cell): string {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "string") return column.key.endsWith("_at") ? dateTime(value) : value;
  if (Number.isInteger(value) && !column.unit) return number(value);
  if (column.unit === "%") return number(value, value > 90 || value < 1 ? 2 : 1);
  return number(value, Math.abs(value) < 100 ? 1 : 0);
}

/** Labels and numbers of one column, for a chart; empty without that column. */
export function series(table: NetworkTable | undefined, key: string): { label: string; value: number | null }[] {
  const at = table?.columns.findIndex((column) => column.key === key) ?? -1;
  if (!table || at < 0) return [];
  return table.rows.map((row) => {
    const value = row[at];
    return { label: String(row[0] ?? "–"), value: typeof value === "number" ? value : null };
  });
}

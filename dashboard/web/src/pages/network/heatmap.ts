/** Waits by station and local hour: a table whose cells are coloured, so that it can be read as well as seen. */
import { h, number, plural } from "../../shell";
import type { Heatmap } from "./answer";
import { level, quantile } from "./scale";

const STEPS = 6;
/** More rows than these come on demand: the worst stations are first. */
const FIRST_ROWS = 15;

const total = (waits: (number | null)[]): number => waits.reduce<number>((sum, wait) => sum + (wait ?? 0), 0);

export function heatmap(data: Heatmap, title: string): HTMLElement {
  const rows = [...data.rows].sort((a, b) => total(b.waits) - total(a.waits));
  const known = rows.flatMap((row) => row.waits).filter((wait): wait is number => wait !== null && wait > 0);
  // one endless queue must not bleach all others
  const highest = quantile(known, 0.98);
  const body = h("tbody");
  const draw = (count: number) =>
    body.replaceChildren(...rows.slice(0, count).map((row) => bodyRow(row, data.hours, highest)));
  draw(FIRST_ROWS);
  if (!rows.length)
    body.append(
      h(
        "tr",
        {},
        h("td", { colspan: data.hours.length + 1, class: "empty" }, "No session had to wait in this period."),
      ),
    );
  const more =
    rows.length > FIRST_ROWS
      ? h(
          "button",
          {
            type: "button",
            class: "button button-small",
            onclick: () => {
              draw(rows.length);
              more?.remove();
              scroll.focus();
            },
          },
          `Show all ${number(rows.length)} stations`,
        )
      : null;
  const scroll = h(
    "div",
    { class: "table-scroll heat-scroll", tabindex: 0, role: "region", "aria-label": title },
    h(
      "table",
      { class: "heat", "data-table": "heatmap" },
      h(
        "caption",
        { class: "visually-hidden" },
        `${title}: how many sessions had to wait, one row for each station and one column for each local hour`,
      ),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col" }, "Station"),
          ...data.hours.map((hour) => h("th", { scope: "col" }, String(hour))),
        ),
      ),
      body,
    ),
  );
  return h("div", { class: "heat-box" }, scroll, legend(highest), more);
}

function bodyRow(row: Heatmap["rows"][number], hours: number[], highest: number): HTMLElement {
  const name = row.name ?? row.station_id;
  return h(
    "tr",
    { "data-station-id": row.station_id },
    h("th", { scope: "row" }, h("a", { href: `/stations/${encodeURIComponent(row.station_id)}`, title: name }, name)),
    ...hours.map((hour, index) => {
      const wait = row.waits[index] ?? null;
      const text = wait === null ? "·" : number(wait);
      const title = `${name}, ${hour}:00: ${wait === null ? "not known" : plural(wait, "wait")}`;
      return h("td", { "data-level": level(wait, highest, STEPS) ?? "none", title }, text);
    }),
  );
}

function legend(highest: number): HTMLElement {
  return h(
    "p",
    { class: "heat-legend", "aria-hidden": "true" },
    h("span", {}, "0"),
    ...Array.from({ length: STEPS + 1 }, (_, step) => h("i", { "data-level": step })),
    h("span", {}, `${plural(highest, "wait")} and more`),
  );
}

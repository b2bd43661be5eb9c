/** Tables that are sortable by keyboard and scroll sideways inside themselves on a phone. */
import { type Child, h } from "./dom";

export interface Column<Row> {
  key: string;
  title: string;
  unit?: string | null;
  /** The cell's text or element; without it, `row[key]`. */
  cell?: (row: Row) => Child;
  /** What the column is sorted by; without it, it cannot be sorted. */
  sort?: (row: Row) => number | string | null;
  numeric?: boolean;
}

export interface TableOptions<Row> {
  caption: string;
  columns: Column<Row>[];
  rows: Row[];
  empty?: string;
  hideCaption?: boolean;
  /** Attributes of a row, such as `data-station-id`. */
  attributes?: (row: Row) => Record<string, string>;
}

export function table<Row>(options: TableOptions<Row>): HTMLElement {
  const { caption, columns, empty = "Nothing to show." } = options;
  let rows = [...options.rows];
  let sorted: { index: number; descending: boolean } | null = null;
  const body = h("tbody");

  const cellOf = (column: Column<Row>, row: Row): Child => {
    if (column.cell) return column.cell(row);
    const value = (row as Record<string, unknown>)[column.key];
    return value === null || value === undefined ? "–" : String(value);
  };

  const draw = () => {
    body.replaceChildren(
      ...rows.map((row) =>
        h(
          "tr",
          options.attributes?.(row) ?? {},
          ...columns.map((column, index) =>
            h(index === 0 ? "th" : "td", { scope: index === 0 ? "row" : null, class: column.numeric ? "number" : null }, cellOf(column, row)),
          ),
        ),
      ),
    );
    if (!rows.length) body.append(h("tr", {}, h("td", { colspan: columns.length, class: "empty" }, empty)));
  };

  const heads = columns.map((column, index) => {
    const title = column.unit ? `${column.title} (${column.unit})` : column.title;
    const head = h("th", { scope: "col", class: column.numeric ? "number" : null });
    const { sort } = column;
    if (!sort) {
      head.textContent = title;
      return head;
    }
    head.append(
      h("button", {
        type: "button",
        class: "sort",
        onclick: () => {
          const descending: boolean = sorted?.index === index ? !sorted.descending : Boolean(column.numeric);
          sorted = { index, descending };
          rows = [...options.rows].sort((a, b) => {
            const [x, y] = [sort(a), sort(b)];
            if (x === y) return 0;
            // what is not known comes last whichever way
            if (x === null) return 1;
            if (y === null) return -1;
            return (x < y ? -1 : 1) * (descending ? -1 : 1);
          });
          heads.forEach((other) => other.removeAttribute("aria-sort"));
          head.setAttribute("aria-sort", descending ? "descending" : "ascending");
          draw();
        },
      }, title),
    );
    return head;
  });
  draw();
  // a scroll container without a focusable child cannot be scrolled by keyboard
  return h(
    "div",
    { class: "table-scroll", tabindex: 0, role: "region", "aria-label": caption },
    h(
      "table",
      {},
      h("caption", { class: options.hideCaption ? "visually-hidden" : null }, caption),
      h("thead", {}, h("tr", {}, ...heads)),
      body,
    ),
  );
}

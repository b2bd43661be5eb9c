/** Small SVG charts with their numbers as a table for those who cannot see them. */
import { h, svg } from "./dom";
import { table } from "./table";

export interface Bar {
  label: string;
  /** Null draws a gap: not known is not zero. */
  value: number | null;
  /** A second value behind the bar, such as a typical day's. */
  other?: number | null;
  /** The range that the value may be in. */
  low?: number | null;
  high?: number | null;
  class?: string;
  title?: string;
  /** Something else happened there: a dot over the bar, whose meaning the caption tells. */
  dot?: boolean;
}

export interface BarsOptions {
  /** What the chart shows, in one sentence. */
  caption: string;
  bars: Bar[];
  /** The top of the axis; without it, the largest value. */
  max?: number;
  format: (value: number) => string;
  valueTitle: string;
  otherTitle?: string;
  labelTitle: string;
  /** Every how many bars a label is written. */
  labelEvery?: number;
  height?: number;
  /** The name of the bar that is now. */
  now?: string;
}

// units of the picture: a phone gets a narrower one, so that its words stay as large
const WIDE = 640;
const NARROW = 360;
const TOP = 10;

function niceMax(value: number): number {
  // its half is a label too, and a whole number where whole things are counted
  if (value <= 0) return 2;
  const step = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((factor) => factor * step).find((top) => top >= value) ?? value;
}

/** Bars over ordered labels: hours, days, minutes from now. */
export function bars(options: BarsOptions): HTMLElement {
  const { bars: all, height = 180, format } = options;
  const narrow = matchMedia("(max-width: 760px)").matches;
  const width = narrow ? NARROW : WIDE;
  const labelEvery = Math.ceil((options.labelEvery ?? 1) * (narrow ? 1.5 : 1));
  const top = options.max ?? niceMax(Math.max(0, ...all.flatMap((bar) => [bar.value ?? 0, bar.other ?? 0, bar.high ?? 0])));
  const left = 44;
  const bottom = 24;
  const plot = height - bottom - TOP;
  const step = (width - left - 4) / Math.max(1, all.length);
  const y = (value: number) => TOP + plot * (1 - Math.min(1, value / top));
  const marks = [0, 0.5, 1].map((share) =>
    svg(
      "g",
      {},
      svg("line", { class: "grid", x1: left, x2: width, y1: y(top * share), y2: y(top * share) }),
      svg("text", { class: "tick", x: left - 8, y: y(top * share) + 4, "text-anchor": "end" }, format(top * share)),
    ),
  );
  const drawn = all.map((bar, index) => {
    const x = left + index * step;
    const wide = Math.max(1.5, step * 0.72);
    const inset = (step - wide) / 2;
    const group = svg("g", { class: `bar ${bar.class ?? ""}${bar.label === options.now ? " bar-now" : ""}` });
    const words = bar.title ?? `${bar.label}: ${bar.value === null ? "not known" : format(bar.value)}`;
    group.append(svg("title", {}, words), svg("rect", { class: "hit", x, y: TOP, width: step, height: plot }));
    if (bar.other !== null && bar.other !== undefined) {
      group.append(svg("rect", { class: "other", x: x + inset * 0.3, width: step - inset * 0.6, y: y(bar.other), height: TOP + plot - y(bar.other), rx: 2 }));
    }
    if (bar.value !== null) {
      group.append(svg("rect", { class: "value", x: x + inset, width: wide, y: y(bar.value), height: Math.max(bar.value > 0 ? 1.5 : 0, TOP + plot - y(bar.value)), rx: Math.min(3, wide / 3) }));
    } else group.append(svg("line", { class: "gap", x1: x + inset, x2: x + inset + wide, y1: TOP + plot - 1, y2: TOP + plot - 1 }));
    if (bar.low !== null && bar.low !== undefined && bar.high !== null && bar.high !== undefined) {
      group.append(svg("line", { class: "range", x1: x + step / 2, x2: x + step / 2, y1: y(bar.low), y2: y(bar.high) }));
    }
    if (bar.dot) group.append(svg("circle", { class: "dot", cx: x + step / 2, cy: y(bar.value ?? 0) - 6, r: 3.2 }));
    if (index % labelEvery === 0) {
      group.append(svg("text", { class: "tick", x: x + step / 2, y: height - 6, "text-anchor": "middle" }, bar.label));
    }
    return group;
  });
  const picture = svg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": options.caption, preserveAspectRatio: "xMidYMid meet" },
    ...marks,
    ...drawn,
  );
  const hasOther = all.some((bar) => bar.other !== undefined);
  const numbers = h(
    "details",
    { class: "chart-numbers" },
    h("summary", {}, "Numbers"),
    table({
      caption: options.caption,
      hideCaption: true,
      columns: [
        { key: "label", title: options.labelTitle },
        { key: "value", title: options.valueTitle, numeric: true, cell: (bar) => (bar.value === null ? "–" : format(bar.value)) },
        ...(hasOther
          ? [{ key: "other", title: options.otherTitle ?? "Typical", numeric: true, cell: (bar: Bar) => (bar.other === null || bar.other === undefined ? "–" : format(bar.other)) }]
          : []),
      ],
      rows: all,
    }),
  );
  return h("figure", { class: "chart-figure" }, picture, numbers);
}

/** The state's mark: the same shape on the map, in the legend and in lists. Each state differs in shape, not in colour alone. */
import { svg } from "../lib/dom";
import { type Theme, theme } from "../lib/theme";
import type { State } from "../lib/types";

interface Mark {
  /** In a box of 24 by 24. */
  shape: string;
  /** Drawn over the shape in the contrasting colour. */
  sign?: string;
  /** An outline only: nothing is claimed to be there. */
  hollow?: boolean;
  dashed?: boolean;
}

const CIRCLE = "M12 2.500a9.500 9.500 0 1 0 0 19 9.500 9.500 0 0 0 0-19Z";

const MARKS: Record<State, Mark> = {
  free: { shape: CIRCLE, sign: "M7.500 12.300l3 3 6-6.300" },
  busy: { shape: "M5.500 3.500h13a2 2 0 0 1 2 2v13a2 2 0 0 1-2 2h-13a2 2 0 0 1-2-2v-13a2 2 0 0 1 2-2Z", sign: "M7.800 12h8.400" },
  blocked: { shape: "M12 1.500 22.500 12 12 22.500 1.500 12Z", sign: "M12 7v6m0 3.200v.3" },
  broken: { shape: "M6.500 2.500 12 8l5.500-5.500 4 4L16 12l5.500 5.500-4 4L12 16l-5.500 5.500-4-4L8 12 2.500 6.500Z" },
  planned: { shape: "M12 3.500a8.500 8.500 0 1 0 0 17 8.500 8.500 0 0 0 0-17Z", hollow: true },
  unknown: {
    shape: CIRCLE,
    sign: "M9.300 9.600c.2-3.300 5.400-3.200 5.400-.1 0 2-2.700 2.100-2.700 4.100m0 3v.2",
    hollow: true,
    dashed: true,
  },
};

export const STATE_WORDS: Record<State, string> = {
  free: "Free",
  busy: "Busy",
  blocked: "Blocked",
  broken: "Out of order",
  planned: "Planned",
  unknown: "Unknown",
};

/** What the state means, for the legend and for those who hear it. */
export const STATE_MEANING: Record<State, string> = {
  free: "an outlet is free",
  busy: "all outlets are charging",
  blocked: "cars that have finished are in the way",
  broken: "no outlet works",
  planned: "not open yet",
  unknown: "nothing recent was heard",
};

export const COLOURS: Record<Theme, Record<State, string>> = {
  light: { free: "#08754a", busy: "#a05000", blocked: "#8a35b5", broken: "#b3261e", planned: "#2c6aa8", unknown: "#5c6761" },
  dark: { free: "#3fd08d", busy: "#f2a33c", blocked: "#cf8cf3", broken: "#ff7f75", planned: "#74b3f2", unknown: "#9aa8a0" },
};
const PAPER: Record<Theme, string> = { light: "#ffffff", dark: "#0d1512" };

/** The mark as SVG; `--tone` and `--paper-mark` of the surrounding state colour it. */
export function mark(state: State): SVGSVGElement {
  const { shape, sign, hollow, dashed } = MARKS[state];
  return svg(
    "svg",
    { viewBox: "0 0 24 24", class: "mark", "aria-hidden": "true", "data-state": state },
    svg("path", {
      d: shape,
      class: hollow ? "mark-hollow" : "mark-full",
      "stroke-dasharray": dashed ? "3.500 2.600" : null,
    }),
    sign ? svg("path", { d: sign, class: hollow ? "mark-sign-hollow" : "mark-sign" }) : null,
  );
}

const RATIO = 2;

function canvas(size: number): { context: CanvasRenderingContext2D; done: () => ImageData } {
  const element = document.createElement("canvas");
  element.width = element.height = size * RATIO;
  const context = element.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("no 2d canvas");
  context.scale(RATIO, RATIO);
  return { context, done: () => context.getImageData(0, 0, element.width, element.height) };
}

function stationImage(state: State, free: number, colours: Theme): ImageData {
  const { shape, sign, hollow, dashed } = MARKS[state];
  const { context, done } = canvas(30);
  const tone = COLOURS[colours][state];
  const paper = PAPER[colours];
  context.translate(3, 3);
  const path = new Path2D(shape);
  context.lineJoin = "round";
  // a rim of the map's colour keeps neighbours apart
  context.strokeStyle = paper;
  context.lineWidth = hollow ? 6 : 3.5;
  context.stroke(path);
  context.fillStyle = hollow ? paper : tone;
  context.fill(path);
  if (hollow) {
    context.strokeStyle = tone;
    context.lineWidth = 2.4;
    if (dashed) context.setLineDash([3.5, 2.6]);
    context.stroke(path);
    context.setLineDash([]);
  }
  if (state === "free" && free > 0) {
    context.fillStyle = paper;
    context.font = "700 12.5px Inter, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "alphabetic";
    context.fillText(free > 9 ? "9+" : String(free), 12, 16.5);
  } else if (sign) {
    context.strokeStyle = hollow ? tone : paper;
    context.lineWidth = 2.3;
    context.lineCap = "round";
    context.stroke(new Path2D(sign));
  }
  return done();
}

const RING_ORDER: readonly State[] = ["free", "unknown", "busy", "blocked", "broken", "planned"];

/** A ring whose parts are the states of the stations in it, in sixteenths. */
function clusterImage(size: number, shares: number[], colours: Theme): ImageData {
  const { context, done } = canvas(size);
  const middle = size / 2;
  const width = Math.max(4, size / 9);
  context.beginPath();
  context.arc(middle, middle, middle - 1, 0, 2 * Math.PI);
  context.fillStyle = colours === "dark" ? "#1a2621" : "#fffffb";
  context.fill();
  const total = shares.reduce((sum, share) => sum + share, 0) || 1;
  let from = -Math.PI / 2;
  shares.forEach((share, index) => {
    const state = RING_ORDER[index];
    if (!share || !state) return;
    const to = from + (share / total) * 2 * Math.PI;
    context.beginPath();
    context.arc(middle, middle, middle - 2 - width / 2, from, to);
    context.lineWidth = width;
    context.strokeStyle = COLOURS[colours][state];
    context.globalAlpha = state === "unknown" || state === "planned" ? 0.45 : 1;
    context.stroke();
    from = to;
  });
  return done();
}

function carImage(colours: Theme): ImageData {
  const { context, done } = canvas(24);
  context.lineJoin = "round";
  const path = new Path2D("M12 3 19 20 12 16.500 5 20Z");
  context.strokeStyle = PAPER[colours];
  context.lineWidth = 4;
  context.stroke(path);
  context.fillStyle = colours === "dark" ? "#8fc2ff" : "#0a4fd0";
  context.fill(path);
  return done();
}

/** The image's name for a station: theme, state and how many outlets are free, of which nine are told apart. */
export const stationIcon = (state: State, free: number): string =>
  `${state}:${state === "free" ? Math.min(free, 10) : 0}`;

export function clusterIcon(count: number, by: (state: State) => number): string {
  const size = count < 10 ? 34 : count < 100 ? 42 : count < 1000 ? 52 : 64;
  const shares = RING_ORDER.map((state) => {
    const number = by(state);
    return number ? Math.max(1, Math.round((16 * number) / count)) : 0;
  });
  return `cluster:${size}:${shares.join("-")}`;
}

/** Draws an image by its name: `THEME/free:3`, `THEME/cluster:42:8-0-4-1-0-0`, `THEME/car`. */
export function draw(id: string): { image: ImageData; ratio: number } | null {
  const [colours, name] = id.split("/");
  if ((colours !== "dark" && colours !== "light") || !name) return null;
  const [kind, first, second] = name.split(":");
  if (kind === "car") return { image: carImage(colours), ratio: RATIO };
  if (kind === "cluster") {
    return { image: clusterImage(Number(first), (second ?? "").split("-").map(Number), colours), ratio: RATIO };
  }
  if (kind && kind in MARKS) return { image: stationImage(kind as State, Number(first), colours), ratio: RATIO };
  return null;
}

export const themed = (): Theme => theme();

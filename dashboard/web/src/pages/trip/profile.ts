/** The state of charge along the way, as a picture: distance to the right, percent upward, a step up at each stop. */
import { svg } from "../../shell";
import type { TripAnswer } from "./answer";
import { profilePoints } from "./profile_points";

const LEFT = 44;
const RIGHT = 12;
const TOP = 18;
const BOTTOM = 26;
const HEIGHT = 176;

export interface ProfileText {
  name: string;
  /** Places of the axis in km, each with its text. */
  axis: (lengthKm: number) => { km: number; text: string }[];
}

/** Drawn again at each new width, so that its text keeps its size on a phone. */
export function profileChart(answer: TripAnswer, text: ProfileText): HTMLElement {
  const box = document.createElement("div");
  box.className = "soc-profile";
  let drawn = 0;
  new ResizeObserver((entries) => {
    const width = Math.floor(entries[0]?.contentRect.width ?? 0);
    if (width > 120 && width !== drawn) {
      drawn = width;
      box.replaceChildren(draw(answer, text, width));
    }
  }).observe(box);
  return box;
}

function draw(answer: TripAnswer, text: ProfileText, width: number): SVGElement {
  const points = profilePoints(answer.legs);
  const length = points.at(-1)?.km || 1;
  const x = (km: number) => round(LEFT + (km / length) * (width - LEFT - RIGHT));
  const y = (percent: number) => round(TOP + (1 - Math.max(0, Math.min(100, percent)) / 100) * (HEIGHT - TOP - BOTTOM));
  const parts: SVGElement[] = [];
  for (const percent of [0, 50, 100]) {
    parts.push(svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(percent), y2: y(percent), class: "grid" }));
    parts.push(svg("text", { x: LEFT - 8, y: y(percent) + 4, "text-anchor": "end", class: "tick" }, `${percent} %`));
  }
  for (const mark of text.axis(length)) {
    if (x(mark.km) > width - RIGHT - 16) continue;
    parts.push(svg("text", { x: x(mark.km), y: HEIGHT - 8, "text-anchor": "middle", class: "tick" }, mark.text));
  }
  if (points.length) {
    const corners = points.map((point) => `${x(point.km)} ${y(point.percent)}`).join("L");
    parts.push(svg("path", { d: `M${x(0)} ${y(0)}L${corners}L${x(length)} ${y(0)}Z`, class: "profile-area" }));
  }
  let km = 0;
  const stops: SVGElement[] = [];
  answer.legs.forEach((leg, index) => {
    const line = { x1: x(km), y1: y(leg.soc_start), x2: x(km + leg.distance_km), y2: y(leg.soc_end) };
    km += leg.distance_km;
    parts.push(
      svg("line", {
        ...line,
        class: leg.feasible ? "profile-line" : "profile-line profile-failing",
        "data-leg": (index % 4) + 1,
      }),
    );
    const next = answer.legs[index + 1];
    if (next) {
      parts.push(
        svg("line", { x1: line.x2, x2: line.x2, y1: line.y2, y2: y(next.soc_start), class: "profile-charge" }),
      );
      stops.push(svg("circle", { cx: line.x2, cy: y(next.soc_start), r: 9, class: "profile-stop" }));
      stops.push(
        svg(
          "text",
          { x: line.x2, y: y(next.soc_start) + 4, "text-anchor": "middle", class: "profile-number" },
          index + 1,
        ),
      );
    }
  });
  return svg(
    "svg",
    { viewBox: `0 0 ${width} ${HEIGHT}`, class: "chart", role: "img", "aria-label": text.name },
    ...parts,
    ...stops,
  );
}

const round = (value: number): number => Math.round(value * 10) / 10;

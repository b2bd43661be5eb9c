/** On a phone the list is a sheet over the map: it can be dragged, and its handle is a button. */
import { h } from "../lib/dom";
import { reducedMotion } from "../lib/theme";

export type SheetPosition = "peek" | "half" | "full";
const ORDER: readonly SheetPosition[] = ["peek", "half", "full"];
const PEEK_PX = 132;

export interface Sheet {
  handle: HTMLElement;
  show: (position: SheetPosition) => void;
  position: () => SheetPosition;
}

export const isPhone = (): boolean => matchMedia("(max-width: 760px)").matches;

export function sheet(panel: HTMLElement): Sheet {
  let position: SheetPosition = "peek";
  const button = h("button", { type: "button", class: "sheet-handle", id: "sheet-handle", "aria-expanded": "false", "aria-controls": panel.id });

  const heights = (): Record<SheetPosition, number> => {
    const whole = panel.offsetParent?.clientHeight || innerHeight;
    return { peek: PEEK_PX, half: Math.round(whole * 0.55), full: whole - 64 };
  };

  const show = (next: SheetPosition) => {
    position = next;
    panel.dataset.sheet = next;
    panel.style.setProperty("--sheet", `${heights()[next]}px`);
    button.setAttribute("aria-expanded", String(next !== "peek"));
    button.setAttribute("aria-label", next === "full" ? "Show the map" : "Show more of the list");
  };

  let from: { y: number; height: number; at: number; moved: boolean } | null = null;
  button.addEventListener("pointerdown", (event) => {
    from = { y: event.clientY, height: heights()[position], at: event.timeStamp, moved: false };
    button.setPointerCapture(event.pointerId);
  });
  button.addEventListener("pointermove", (event) => {
    if (!from) return;
    const by = from.y - event.clientY;
    if (Math.abs(by) > 5) from.moved = true;
    if (!from.moved) return;
    const { peek, full } = heights();
    panel.classList.add("sheet-dragged");
    panel.style.setProperty("--sheet", `${Math.min(full, Math.max(peek, from.height + by))}px`);
  });
  const end = (event: PointerEvent) => {
    if (!from) return;
    const { moved, y, height, at } = from;
    from = null;
    panel.classList.remove("sheet-dragged");
    if (!moved) return;
    const by = y - event.clientY;
    // a quick flick goes one step further, a slow drag goes to the nearest
    const flick = Math.abs(by) > 30 && event.timeStamp - at < 250;
    const now = height + by;
    const all = heights();
    const nearest = ORDER.reduce((best, one) => (Math.abs(all[one] - now) < Math.abs(all[best] - now) ? one : best), position);
    const step = ORDER[Math.min(2, Math.max(0, ORDER.indexOf(position) + Math.sign(by)))] ?? position;
    show(flick ? step : nearest);
    justDragged = true;
    setTimeout(() => (justDragged = false), 0);
  };
  let justDragged = false;
  button.addEventListener("pointerup", end);
  button.addEventListener("pointercancel", end);
  button.addEventListener("click", () => {
    if (justDragged) return;
    show(position === "peek" ? "half" : position === "half" ? "full" : "peek");
  });
  addEventListener("resize", () => show(position));
  // a first position without a movement
  if (!reducedMotion()) panel.classList.add("sheet-moves");
  show("peek");
  return { handle: button, show, position: () => position };
}

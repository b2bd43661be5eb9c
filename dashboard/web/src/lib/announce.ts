/** Short messages: shown for a while and read out by screen readers. */
import { h } from "./dom";

/** More of a kind would fill a phone's screen: the newest stay. */
const MOST_OF_A_KIND = 2;

let region: HTMLElement | undefined;
let shown: { kind: string; close: () => void }[] = [];

function toasts(): HTMLElement {
  if (!region) {
    region = h("div", { class: "toasts", role: "status", "aria-live": "polite" });
    document.body.append(region);
  }
  return region;
}

export interface ToastOptions {
  kind?: "info" | "good" | "bad";
  action?: { label: string; href?: string; run?: () => void };
  /** 0 keeps it until it is closed. */
  seconds?: number;
}

export function toast(text: string, { kind = "info", action, seconds = 8 }: ToastOptions = {}): void {
  const close = () => {
    shown = shown.filter((one) => one !== entry);
    note.remove();
  };
  const note = h(
    "div",
    { class: `toast toast-${kind}` },
    h("p", {}, text),
    action?.href ? h("a", { href: action.href, class: "toast-action" }, action.label) : null,
    action?.run
      ? h("button", { type: "button", class: "toast-action", onclick: () => { action.run?.(); close(); } }, action.label)
      : null,
    h("button", { type: "button", class: "toast-close", "aria-label": "Close this message", onclick: close }, "×"),
  );
  const entry = { kind, close };
  toasts().append(note);
  shown.push(entry);
  const same = shown.filter((one) => one.kind === kind);
  for (const old of same.slice(0, -MOST_OF_A_KIND)) old.close();
  if (seconds) setTimeout(close, seconds * 1000);
}

let spoken: HTMLElement | undefined;

/** Read out, not shown. */
export function announce(text: string): void {
  if (!spoken) {
    spoken = h("div", { class: "visually-hidden", role: "status", "aria-live": "polite", id: "announcer" });
    document.body.append(spoken);
  }
  spoken.textContent = text;
}

/** A banner at the top of `host` that says what is missing; an empty text removes it. One banner for each `key`. */
export function banner(host: Element, key: string, text: string, kind: "warn" | "bad" = "warn"): void {
  const existing = host.querySelector<HTMLElement>(`:scope > .banner[data-key="${CSS.escape(key)}"]`);
  if (!text) {
    existing?.remove();
    return;
  }
  if (existing) {
    const words = existing.querySelector("p");
    if (words && words.textContent !== text) words.textContent = text;
    existing.className = `banner banner-${kind}`;
    return;
  }
  host.prepend(h("div", { class: `banner banner-${kind}`, "data-key": key, role: "status" }, h("p", {}, text)));
}

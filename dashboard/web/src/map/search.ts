/** A search box for places, ZIP codes, coordinates and stations: an ARIA combobox. The trip page uses it too. */
import { get, isAbort, sentence } from "../lib/api";
import { h, fill } from "../lib/dom";
import type { Place } from "../lib/types";

interface SearchOptions {
  id: string;
  label: string;
  placeholder: string;
  choose: (place: Place) => void;
  /** Keeps the label above the box; without it, only screen readers have it. */
  showLabel?: boolean;
}

export interface SearchBox {
  element: HTMLElement;
  input: HTMLInputElement;
  /** Says below the box what went wrong, or what to do. */
  say: (text: string) => void;
}

const WAIT_MS = 140;
const KINDS: Record<Place["kind"], string> = { place: "Place", zip: "ZIP", coordinates: "Point", station: "Station" };

export const placeName = (place: Place): string =>
  place.state_code && place.kind !== "coordinates" && !place.name.endsWith(`, ${place.state_code}`)
    ? `${place.name}, ${place.state_code}`
    : place.name;

export function searchBox({ id, label, placeholder, choose, showLabel = false }: SearchOptions): SearchBox {
  let places: Place[] = [];
  let active = -1;
  let asked = "";
  let timer = 0;
  let asking: AbortController | null = null;

  const list = h("ul", { id: `${id}-list`, class: "suggestions", role: "listbox", "aria-label": "Suggestions" });
  list.hidden = true;
  const hint = h("p", { class: "search-hint", id: `${id}-hint`, role: "status" });
  hint.hidden = true;
  const input = h("input", {
    id,
    class: "input search-input",
    type: "search",
    placeholder,
    autocomplete: "off",
    autocapitalize: "words",
    spellcheck: "false",
    enterkeyhint: "search",
    maxlength: 100,
    role: "combobox",
    "aria-autocomplete": "list",
    "aria-expanded": "false",
    "aria-controls": `${id}-list`,
    "aria-describedby": `${id}-hint`,
  });

  const say = (text: string) => {
    hint.textContent = text;
    hint.hidden = !text;
  };

  const close = () => {
    list.hidden = true;
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };

  const take = (index: number) => {
    const place = places[index];
    if (!place) return;
    input.value = placeName(place);
    close();
    say("");
    // a station is found by its id, which is what was typed
    choose(place.kind === "station" ? { ...place, station_id: place.station_id ?? asked } : place);
  };

  const draw = () => {
    fill(
      list,
      ...places.map((place, index) =>
        h(
          "li",
          {
            id: `${id}-${index}`,
            role: "option",
            "aria-selected": String(index === active),
            "data-kind": place.kind,
            // the list would close by the box losing focus before a click came
            onpointerdown: (event: PointerEvent) => event.preventDefault(),
            onclick: () => take(index),
          },
          h("span", {}, placeName(place)),
          h("span", { class: "chip" }, KINDS[place.kind] ?? "Place"),
        ),
      ),
    );
    list.hidden = places.length === 0;
    input.setAttribute("aria-expanded", String(places.length > 0));
    if (active >= 0) input.setAttribute("aria-activedescendant", `${id}-${active}`);
    else input.removeAttribute("aria-activedescendant");
  };

  const ask = async (text: string): Promise<void> => {
    asking?.abort();
    const mine = new AbortController();
    asking = mine;
    asked = text;
    try {
      const answer = await get<{ places: Place[] }>("/places", { q: text, limit: 8 }, mine.signal);
      if (mine.signal.aborted) return;
      places = answer.places;
      active = -1;
      draw();
      say(places.length ? "" : `Nothing is called “${text}”. Try a city, a ZIP code or coordinates.`);
    } catch (error) {
      if (isAbort(error)) return;
      places = [];
      draw();
      say(sentence(error));
    }
  };

  input.addEventListener("input", () => {
    clearTimeout(timer);
    const text = input.value.trim();
    if (text.length < 2) {
      asking?.abort();
      places = [];
      draw();
      say("");
      return;
    }
    timer = setTimeout(() => void ask(text), WAIT_MS);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (!places.length) return;
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      active = (active + step + places.length) % places.length;
      draw();
      list.children[active]?.scrollIntoView({ block: "nearest" });
    } else if (event.key === "Enter") {
      event.preventDefault();
      clearTimeout(timer);
      const text = input.value.trim();
      if (!list.hidden) take(Math.max(0, active));
      else if (text.length >= 2) void ask(text).then(() => places.length && take(0));
    } else if (event.key === "Escape" && !list.hidden) {
      event.stopPropagation();
      close();
    }
  });
  input.addEventListener("blur", () => setTimeout(close, 0));
  input.addEventListener("focus", () => places.length && draw());

  const element = h(
    "div",
    { class: "search" },
    h("label", { for: id, class: showLabel ? "search-label" : "visually-hidden" }, label),
    h("div", { class: "search-box" }, input, list),
    hint,
  );
  return { element, input, say };
}

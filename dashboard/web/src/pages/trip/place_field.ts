/** A field for a place, with suggestions while one types: a combobox that works by keyboard alone. */
import { fill, get, h, isAbort, type Place } from "../../shell";

const PAUSE_MS = 180;
const SUGGESTIONS = 7;
const KINDS: Record<string, string> = { place: "place", zip: "ZIP", coordinates: "coordinates", station: "station" };

export interface PlaceField {
  element: HTMLElement;
  /** What the interface is asked, and the name where that is a suggestion's coordinates. */
  value: () => { text: string; name: string };
  set: (text: string, name: string) => void;
  /** Shows what is wrong with it; an empty text takes that back. */
  complain: (text: string) => void;
  focus: () => void;
}

/** "Fresno, CA", as people write it. */
export function placeName(place: Pick<Place, "name" | "state_code">): string {
  return place.state_code && !place.name.endsWith(`, ${place.state_code}`)
    ? `${place.name}, ${place.state_code}`
    : place.name;
}

export function placeField(id: string, label: string, placeholder: string): PlaceField {
  let chosen: { text: string; name: string } | null = null;
  let suggestions: Place[] = [];
  let active = -1;
  let timer = 0;
  let asking: AbortController | undefined;

  const list = h("ul", {
    id: `${id}-list`,
    role: "listbox",
    class: "place-list",
    "aria-label": `${label}: suggestions`,
    hidden: true,
  });
  const wrong = h("span", { class: "field-error", id: `${id}-error`, hidden: true });
  const input = h("input", {
    id,
    name: id,
    class: "input",
    type: "text",
    role: "combobox",
    autocomplete: "off",
    spellcheck: "false",
    maxlength: 200,
    placeholder,
    "aria-autocomplete": "list",
    "aria-expanded": "false",
    "aria-controls": list.id,
    "aria-describedby": wrong.id,
  });
  const element = h(
    "div",
    { class: "field place-field" },
    h("label", { for: id }, label),
    h("div", { class: "combobox" }, input, list),
    wrong,
  );

  const close = (): void => {
    list.hidden = true;
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };

  const point = (index: number): void => {
    active = index;
    [...list.children].forEach((option, at) => option.setAttribute("aria-selected", String(at === index)));
    if (index < 0) input.removeAttribute("aria-activedescendant");
    else {
      input.setAttribute("aria-activedescendant", `${id}-${index}`);
      list.children[index]?.scrollIntoView({ block: "nearest" });
    }
  };

  const choose = (place: Place): void => {
    const name = placeName(place);
    // a ZIP reads better in a link than its coordinates, and means one place
    const text = place.kind === "zip" ? place.name : `${place.lat.toFixed(5)},${place.lon.toFixed(5)}`;
    chosen = { text, name: place.kind === "coordinates" ? "" : name };
    input.value = name;
    complain("");
    close();
  };

  const show = (): void => {
    fill(
      list,
      ...suggestions.map((place, index) =>
        h(
          "li",
          {
            id: `${id}-${index}`,
            role: "option",
            "aria-selected": "false",
            "data-kind": place.kind,
            // a click must not take the focus from the field before it is heard
            onmousedown: (event: Event) => event.preventDefault(),
            onclick: () => choose(place),
          },
          h("span", {}, placeName(place)),
          h("span", { class: "chip" }, KINDS[place.kind] ?? place.kind),
        ),
      ),
    );
    list.hidden = suggestions.length === 0;
    active = -1;
    input.setAttribute("aria-expanded", String(suggestions.length > 0));
    input.removeAttribute("aria-activedescendant");
  };

  const ask = async (): Promise<void> => {
    asking?.abort();
    const text = input.value.trim();
    if (text.length < 2) {
      close();
      return;
    }
    asking = new AbortController();
    try {
      const { places } = await get<{ places: Place[] }>("/places", { q: text, limit: SUGGESTIONS }, asking.signal);
      suggestions = places;
      if (document.activeElement === input) show();
    } catch (error) {
      // without suggestions the text itself is asked
      if (!isAbort(error)) close();
    }
  };

  const complain = (text: string): void => {
    wrong.textContent = text;
    wrong.hidden = !text;
    if (text) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  };

  input.addEventListener("input", () => {
    chosen = null;
    complain("");
    clearTimeout(timer);
    timer = setTimeout(() => void ask(), PAUSE_MS);
  });
  input.addEventListener("blur", () => {
    clearTimeout(timer);
    asking?.abort();
    close();
  });
  input.addEventListener("keydown", (event) => {
    if (list.hidden) {
      if (event.key === "ArrowDown") void ask();
      return;
    }
    const count = suggestions.length;
    if (event.key === "ArrowDown") point((active + 1) % count);
    else if (event.key === "ArrowUp") point(active <= 0 ? count - 1 : active - 1);
    else if (event.key === "Escape") close();
    else if (event.key === "Enter") {
      const place = suggestions[active];
      if (!place) return;
      choose(place);
    } else return;
    event.preventDefault();
  });

  return {
    element,
    value: () => chosen ?? { text: input.value.trim(), name: "" },
    set: (text, name) => {
      chosen = name ? { text, name } : null;
      input.value = name || text;
    },
    complain,
    focus: () => input.focus(),
  };
}

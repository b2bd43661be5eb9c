/** The filters as a form, with the profiles that the reader saved. */
import { announce } from "../lib/announce";
import { fill, h } from "../lib/dom";
import { connector as connectorName } from "../lib/format";
import { countOf, type Filters, NO_FILTERS, profiles, removeProfile, saveProfile } from "./filters";

// what US drivers look for; others come by the URL
const CONNECTORS = ["J1772COMBO", "TESLA", "CHADEMO", "J1772"];
const POWERS = [7, 11, 22, 50, 100, 150, 250, 350];
const ARRIVALS = [10, 20, 30, 45, 60, 90, 120, 180, 240];

export interface FilterPanel {
  element: HTMLElement;
  button: HTMLButtonElement;
  set: (filters: Filters) => void;
  /** Networks seen so far, offered as suggestions. */
  suggestNetworks: (names: Iterable<string>) => void;
}

type Option = [value: string, words: string];

function select(id: string, options: Option[], value: string): HTMLSelectElement {
  const shown = options.some(([known]) => known === value) ? options : [...options, [value, value] as Option];
  return h("select", { id, class: "input", value }, ...shown.map(([option, words]) => h("option", { value: option }, words)));
}

export function filterPanel(
  change: (filters: Filters) => void,
  likelyFree: Promise<boolean>,
  opened: () => void,
): FilterPanel {
  let filters = NO_FILTERS;
  let canForecast = true;
  const networks = h("datalist", { id: "networks" });
  const known = new Set<string>();
  const form = h("form", { class: "filters", id: "filters", "aria-label": "Filters", onsubmit: (event: Event) => event.preventDefault() });
  form.hidden = true;
  const count = h("span", { class: "filter-count" });
  const button = h(
    "button",
    {
      type: "button",
      class: "button filter-button",
      id: "filter-button",
      "aria-expanded": "false",
      "aria-controls": "filters",
      onclick: () => open(Boolean(form.hidden)),
    },
    "Filters",
    count,
  );

  const open = (wanted: boolean) => {
    form.hidden = !wanted;
    button.setAttribute("aria-expanded", String(wanted));
    if (!wanted) return;
    draw();
    opened();
  };
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    open(false);
    button.focus();
  });

  const update = (part: Partial<Filters>) => {
    filters = { ...filters, ...part };
    badge();
    change(filters);
  };

  const clear = h(
    "button",
    {
      type: "button",
      class: "button button-small",
      id: "filter-clear",
      onclick: () => {
        update({ ...NO_FILTERS });
        draw();
      },
    },
    "Clear all",
  );
  let profileButtons: [HTMLButtonElement, Filters | undefined][] = [];

  /** Everything that says which filters are set, beside the fields themselves. */
  const badge = () => {
    const set = countOf(filters);
    clear.disabled = !set;
    for (const [one, saved] of profileButtons) one.setAttribute("aria-pressed", String(JSON.stringify(saved) === JSON.stringify(filters)));
    count.textContent = set ? String(set) : "";
    count.hidden = !set;
    button.setAttribute("aria-label", set ? `Filters, ${set} set` : "Filters");
  };

  const numberOf = (event: Event): number | null => {
    const { value } = event.target as HTMLSelectElement;
    return value === "" ? null : Number(value);
  };
  const textOf = (event: Event): string => (event.target as HTMLInputElement).value.trim();
  const checked = (event: Event): boolean => (event.target as HTMLInputElement).checked;

  const field = (label: string, control: HTMLElement) => h("label", { class: "field", for: control.id }, label, control);

  function profileBar(): HTMLElement {
    const saved = profiles();
    const names = Object.keys(saved).sort();
    profileButtons = names.map((one) => [
      h(
        "button",
        {
          type: "button",
          class: "button button-small",
          onclick: () => {
            update(saved[one] ?? NO_FILTERS);
            draw();
            announce(`Profile ${one} is set`);
          },
        },
        one,
      ),
      saved[one],
    ]);
    const name = h("input", { id: "profile-name", class: "input", maxlength: 40, placeholder: "My car", "aria-label": "Name of the profile" });
    const save = () => {
      const text = name.value.trim();
      if (!text) {
        name.focus();
        return;
      }
      saveProfile(text, filters);
      announce(`Profile ${text} is saved`);
      draw();
      form.querySelector<HTMLElement>("#profile-name")?.focus();
    };
    name.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      save();
    });
    return h(
      "fieldset",
      { class: "profiles" },
      h("legend", {}, "Profiles"),
      names.length
        ? h(
            "ul",
            { class: "row" },
            ...names.map((one, index) =>
              h(
                "li",
                { class: "profile", "data-profile": one },
                profileButtons[index]?.[0],
                h(
                  "button",
                  {
                    type: "button",
                    class: "icon-button",
                    "aria-label": `Remove the profile ${one}`,
                    onclick: () => {
                      removeProfile(one);
                      draw();
                      form.querySelector<HTMLElement>("#profile-name")?.focus();
                    },
                  },
                  "×",
                ),
              ),
            ),
          )
        : h("p", { class: "small muted" }, "Save these filters under a name, such as your car's."),
      h("div", { class: "row profile-save" }, name, h("button", { type: "button", class: "button", id: "profile-save", onclick: save }, "Save")),
    );
  }

  function draw(): void {
    const focused = form.contains(document.activeElement) ? document.activeElement?.id : "";
    const powers = (any: string): Option[] => [["", any], ...POWERS.map((kw) => [String(kw), `${kw} kW`] as Option)];
    fill(
      form,
      h(
        "div",
        { class: "filter-grid" },
        field(
          "Connector",
          listen(
            select("filter-connector", [["", "Any"], ...CONNECTORS.map((type) => [type, connectorName(type)] as Option)], filters.connector),
            (event) => update({ connector: textOf(event) }),
          ),
        ),
        field("Network", listen(h("input", { id: "filter-network", class: "input", list: "networks", placeholder: "Any", value: filters.network, maxlength: 120 }), (event) => update({ network: textOf(event) }))),
        field("At least", listen(select("filter-min-power", powers("Any power"), String(filters.minPowerKw ?? "")), (event) => {
          const minPowerKw = numberOf(event);
          const tooLow = minPowerKw !== null && filters.maxPowerKw !== null && filters.maxPowerKw < minPowerKw;
          update({ minPowerKw, ...(tooLow ? { maxPowerKw: null } : {}) });
          if (tooLow) draw();
        })),
        field("At most", listen(select("filter-max-power", powers("Any power"), String(filters.maxPowerKw ?? "")), (event) => {
          const maxPowerKw = numberOf(event);
          const tooHigh = maxPowerKw !== null && filters.minPowerKw !== null && filters.minPowerKw > maxPowerKw;
          update({ maxPowerKw, ...(tooHigh ? { minPowerKw: null } : {}) });
          if (tooHigh) draw();
        })),
        field(
          "Free outlets",
          listen(
            select("filter-min-free", [["", "Any number"], ...[1, 2, 3, 4, 6, 8].map((n) => [String(n), `${n} or more`] as Option)], String(filters.minFree ?? "")),
            (event) => update({ minFree: numberOf(event) }),
          ),
        ),
        field(
          "Likely free on arrival",
          listen(
            select(
              "filter-likely",
              [["", canForecast ? "Do not ask" : "Not available yet"], ...ARRIVALS.map((n) => [String(n), `in ${n} min`] as Option)],
              String(filters.likelyFreeInMin ?? ""),
            ),
            (event) => update({ likelyFreeInMin: numberOf(event) }),
          ),
        ),
      ),
      h(
        "div",
        { class: "row spread" },
        h("label", { class: "check" }, listen(h("input", { type: "checkbox", id: "filter-free-now", checked: filters.freeNow }), (event) => update({ freeNow: checked(event) })), "Free now"),
        clear,
      ),
      profileBar(),
      networks,
    );
    badge();
    const likely = form.querySelector<HTMLSelectElement>("#filter-likely");
    if (likely) likely.disabled = !canForecast;
    if (focused) form.querySelector<HTMLElement>(`#${CSS.escape(focused)}`)?.focus();
  }

  void likelyFree.then((available) => {
    canForecast = available;
    if (!form.hidden) draw();
  });
  badge();
  return {
    element: form,
    button,
    set: (next) => {
      filters = next;
      badge();
      if (!form.hidden) draw();
    },
    suggestNetworks: (names) => {
      const before = known.size;
      for (const name of names) known.add(name);
      if (known.size !== before) fill(networks, ...[...known].sort().map((name) => h("option", { value: name })));
    },
  };
}

function listen<E extends HTMLElement>(element: E, handle: (event: Event) => void): E {
  element.addEventListener("change", handle);
  return element;
}

/** Elements without HTML strings: whatever a station is called, it becomes text. */

export type Child = Node | string | number | null | undefined | false;
type Value = string | number | boolean | null | undefined | EventListener | ((event: never) => void);
export type Attributes = Record<string, Value>;

function apply(element: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.replace(/^on/, ""), value as EventListener);
    // the content security policy refuses style attributes, but not the style object
    else if (name === "style") (element as HTMLElement | SVGElement).style.cssText = String(value);
    else if (name === "value" && (element instanceof HTMLInputElement || element instanceof HTMLSelectElement)) {
      element.value = String(value);
    } else element.setAttribute(name, value === true ? "" : String(value));
  }
}

function append(element: Element, children: Child[]): void {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** `h("p", {class: "note"}, "text")`; attributes that begin with "on" are listeners, null and false leave one out. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  // a select takes its value only once it has its options
  append(element, children);
  apply(element, attributes);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element, as `h` makes HTML elements. */
export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): SVGElementTagNameMap[K] {
  const element = document.createElementNS(SVG, tag);
  append(element, children);
  apply(element, attributes);
  return element;
}

/** Replaces what is in the element. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren();
  append(element, children);
}

/** Sets the text only where it changes, so that a screen reader's live region does not repeat itself. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

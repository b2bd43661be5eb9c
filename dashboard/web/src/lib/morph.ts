/**
 * Brings `old` to what `fresh` shows and keeps every node that can stay: focus, selection, scroll positions and open
 * details survive. Children with the same `data-key` belong together.
 */
export function morph(old: Element, fresh: Element): void {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !(name === "open" && old.tagName === "DETAILS")) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) === value) continue;
    // the content security policy refuses style attributes, but not the style object
    if (name === "style") (old as HTMLElement | SVGElement).style.cssText = value;
    else old.setAttribute(name, value);
  }
  const keyed = new Map<string, Element>();
  for (const child of old.children) {
    const key = child.getAttribute("data-key");
    if (key) keyed.set(key, child);
  }
  let at: ChildNode | null = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const key = wanted instanceof Element ? wanted.getAttribute("data-key") : null;
    const match: ChildNode | null | undefined = key ? keyed.get(key) : at;
    if (match && isAlike(match, wanted)) {
      if (match !== at) old.insertBefore(match, at);
      else at = at.nextSibling;
      if (wanted instanceof Element) morph(match as Element, wanted);
      else if (match.nodeValue !== wanted.nodeValue) match.nodeValue = wanted.nodeValue;
    } else {
      old.insertBefore(wanted, at);
    }
  }
  while (at) {
    const next: ChildNode | null = at.nextSibling;
    at.remove();
    at = next;
  }
}

function isAlike(a: Node, b: Node): boolean {
  if (a.nodeType !== b.nodeType || a.nodeName !== b.nodeName) return false;
  if (!(a instanceof Element && b instanceof Element)) return true;
  return a.getAttribute("data-key") === b.getAttribute("data-key");
}

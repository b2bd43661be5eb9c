/** As much of a browser as the pages' elements need: imported first, as modules look at it while they load. */

type Listener = (event: unknown) => void;

class FakeNode {}

class FakeElement extends FakeNode {
  readonly attributes = new Map<string, string>();
  readonly dataset: Record<string, string> = {};
  readonly style = { cssText: "" };
  readonly classList = { add: () => undefined };
  readonly listeners = new Map<string, Listener>();
  children: (FakeElement | string)[] = [];
  parent: FakeElement | null = null;
  value = "";
  hidden = false;
  disabled = false;

  constructor(readonly tag: string) {
    super();
  }

  append(...added: (FakeElement | string)[]): void {
    for (const child of added) if (child instanceof FakeElement) child.parent = this;
    this.children.push(...added);
  }

  replaceChildren(...children: (FakeElement | string)[]): void {
    this.children = [];
    this.append(...children);
  }

  remove(): void {
    if (this.parent) this.parent.children = this.parent.children.filter((child) => child !== this);
  }

  setAttribute(name: string, value: string): void {
    this.attributes.set(name, value);
  }

  getAttribute(name: string): string | null {
    return this.attributes.get(name) ?? null;
  }

  addEventListener(name: string, listener: Listener): void {
    this.listeners.set(name, listener);
  }

  dispatch(name: string): void {
    this.listeners.get(name)?.({ target: this });
  }

  contains(): boolean {
    return false;
  }

  /** By id only. */
  querySelector(selector: string): FakeElement | null {
    for (const child of this.children) {
      if (!(child instanceof FakeElement)) continue;
      if (child.getAttribute("id") === selector.slice(1)) return child;
      const found = child.querySelector(selector);
      if (found) return found;
    }
    return null;
  }

  get textContent(): string {
    return this.children.map((child) => (child instanceof FakeElement ? child.textContent : child)).join("");
  }

  set textContent(text: string) {
    this.replaceChildren(text);
  }
}

export const body = new FakeElement("body");
/** What the pages remember. */
export const storage = new Map<string, string>();
export type { FakeElement };

const after = globalThis.setTimeout;
Object.assign(globalThis, {
  /** A message that goes by itself must not keep the tests waiting. */
  setTimeout: (run: () => void, ms: number) => {
    const timer = after(run, ms) as unknown as { unref: () => void };
    if (ms > 1000) timer.unref();
    return timer;
  },
  ResizeObserver: class {
    observe(): void {}
  },
  Node: FakeNode,
  HTMLInputElement: FakeElement,
  HTMLSelectElement: FakeElement,
  window: {},
  document: {
    body,
    documentElement: new FakeElement("html"),
    activeElement: null,
    createElement: (tag: string) => new FakeElement(tag),
    createElementNS: (_space: string, tag: string) => new FakeElement(tag),
  },
  localStorage: {
    getItem: (name: string) => storage.get(name) ?? null,
    setItem: (name: string, value: string) => storage.set(name, value),
  },
});
Object.defineProperty(globalThis, "navigator", { value: { language: "de-DE" }, configurable: true });

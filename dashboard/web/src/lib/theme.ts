/** Dark or light: the system's, or the one chosen here. `theme.js` sets the first one before the page paints. */

export type Theme = "dark" | "light";
const NAME = "evcharge.theme";
const listeners = new Set<(theme: Theme) => void>();

export const theme = (): Theme => (document.documentElement.dataset.theme === "dark" ? "dark" : "light");

export function onTheme(listener: (theme: Theme) => void): void {
  listeners.add(listener);
}

function show(next: Theme): void {
  if (theme() === next) return;
  document.documentElement.dataset.theme = next;
  for (const listener of listeners) listener(next);
}

export function toggleTheme(): void {
  const next = theme() === "dark" ? "light" : "dark";
  try {
    localStorage.setItem(NAME, next);
  } catch {
    // it lasts as long as the page
  }
  show(next);
}

export function followSystemTheme(): void {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => {
    let chosen: string | null = null;
    try {
      chosen = localStorage.getItem(NAME);
    } catch {
      // nothing was chosen
    }
    if (!chosen) show(event.matches ? "dark" : "light");
  });
}

export const reducedMotion = (): boolean => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** The one script of every page: the shell, then the page's own part. */
import { buildShell, type PageName, type Shell } from "./shell";
import { h } from "./lib/dom";

type Start = (main: HTMLElement, shell: Shell) => void | Promise<void>;

const PAGES: Record<PageName, () => Promise<{ start: Start }>> = {
  map: () => import("./pages/map"),
  station: () => import("./pages/station"),
  trip: () => import("./pages/trip"),
  network: () => import("./pages/network"),
  status: () => import("./pages/status"),
  error: () => import("./pages/error"),
};

const name = document.documentElement.dataset.page;
const page: PageName = name !== undefined && name in PAGES ? (name as PageName) : "error";
const module = PAGES[page]();

async function begin(): Promise<void> {
  const shell = buildShell(page);
  try {
    await (await module).start(shell.main, shell);
  } catch (error) {
    console.error(error);
    shell.main.append(
      h(
        "section",
        { class: "page" },
        h("h1", {}, "This page did not start"),
        h("p", {}, "Something in it failed. Reloading helps if the dashboard was just updated."),
        h("button", { type: "button", class: "button", onclick: () => location.reload() }, "Reload"),
      ),
    );
  }
}

void begin();

/** The page of an error. The server has written what went wrong into it. */
import { h, type Shell } from "../shell";

export function start(main: HTMLElement, _shell: Shell): void {
  document.documentElement.dataset.ready = "error";
  if (main.querySelector("h1")) return;
  main.append(
    h(
      "section",
      { class: "page page-narrow" },
      h("h1", {}, "There is no page here"),
      h("p", {}, h("a", { class: "button", href: "/" }, "To the map")),
    ),
  );
}

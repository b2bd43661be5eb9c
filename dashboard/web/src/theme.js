// Runs before the first paint, so that a page never flashes in the other theme.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("evcharge.theme");
  } catch {
    // storage is refused: the system's theme it is
  }
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();

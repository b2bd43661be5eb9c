// Writes ../static: app.js with a chunk for each page, the style sheet, the base map, fonts, an icon, and in preloads.json the
// chunks of each page. Chunks have a hash in their names; the server's ETags tell a browser whether the other files changed.
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import { baseMap } from "./basemap.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", "static");
const modules = join(here, "node_modules");

const PAGES = ["map", "station", "trip", "network", "status", "error"];
const NEEDS_MAP = ["map", "trip"];

const options = {
  absWorkingDir: here,
  entryPoints: { app: "src/app.ts" },
  outdir: out,
  bundle: true,
  splitting: true,
  format: "esm",
  target: ["es2022"],
  minify: true,
  sourcemap: false,
  chunkNames: "chunks/[name]-[hash]",
  metafile: true,
  legalComments: "linked",
  logLevel: "warning",
};

/** The chunks that a page's own script needs, so that the browser asks for all of them at once. */
function chunksOf(metafile, source) {
  const outputs = Object.entries(metafile.outputs);
  const found = new Set();
  const visit = (file) => {
    if (found.has(file)) return;
    found.add(file);
    for (const imported of metafile.outputs[file].imports) {
      if (imported.kind === "import-statement") visit(imported.path);
    }
  };
  const entry = outputs.find(([, output]) => output.entryPoint === source);
  if (entry) visit(entry[0]);
  return [...found].map((file) => "/static/" + file.split("static/").pop());
}

/** Each page with the scripts that its HTML names, so that they load side by side. */
function preloads(metafile) {
  const engine = chunksOf(metafile, "src/map/engine.ts");
  const entries = PAGES.map((page) => {
    const chunks = chunksOf(metafile, `src/pages/${page}.ts`);
    return [page, [...new Set(NEEDS_MAP.includes(page) ? [...chunks, ...engine] : chunks)]];
  });
  return Object.fromEntries(entries);
}

async function build() {
  await rm(out, { recursive: true, force: true });
  await mkdir(join(out, "fonts"), { recursive: true });
  await mkdir(join(out, "base"), { recursive: true });
  const { metafile } = await esbuild.build(options);
  // app.css is a bundle of its own, so that a page needs one style sheet whatever its scripts import
  await esbuild.build({
    absWorkingDir: here,
    entryPoints: { app: "src/app.css", theme: "src/theme.js" },
    outdir: out,
    bundle: true,
    minify: true,
    external: ["/static/*"],
    logLevel: "warning",
  });
  const font = join(modules, "@fontsource-variable", "inter");
  await cp(join(font, "files", "inter-latin-wght-normal.woff2"), join(out, "fonts", "inter.woff2"));
  await cp(join(font, "files", "inter-latin-ext-wght-normal.woff2"), join(out, "fonts", "inter-ext.woff2"));
  await cp(join(modules, "maplibre-gl", "dist", "maplibre-gl-worker.mjs"), join(out, "maplibre-worker.mjs"));
  await cp(join(here, "src", "icon.svg"), join(out, "icon.svg"));
  for (const [name, collection] of Object.entries(await baseMap(here))) {
    await writeFile(join(out, "base", `${name}.json`), JSON.stringify(collection));
  }
  await writeFile(join(out, "preloads.json"), JSON.stringify(preloads(metafile)));
  const licences = [];
  for (const name of ["maplibre-gl", "us-atlas", "world-atlas", "@fontsource-variable/inter"]) {
    const folder = join(modules, ...name.split("/"));
    const file = name === "maplibre-gl" ? "LICENSE.txt" : "LICENSE";
    licences.push(`${name}\n\n${await readFile(join(folder, file), "utf8")}`);
  }
  licences.push(await readFile(join(here, "data", "LICENCES.txt"), "utf8"));
  await writeFile(join(out, "LICENCES.txt"), licences.join("\n\n" + "-".repeat(80) + "\n\n"));
}

await build();

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

/** What a page is put together from, as text. */
export interface PageSources {
  html: string;
  styles: readonly string[];
  /** Each runs in a scope of its own; they meet in the object `report`. */
  scripts: readonly string[];
}

/** Both src/report and dist/report lie as deep below the package's root, which ships src/report/page. */
const folder = new URL("../../src/report/page/", import.meta.url);

const styles = ["charts.css", "rollouts.css", "page.css"];
const scripts = [
  "format.js",
  "theme.js",
  "header.js",
  "plot.js",
  "chartList.js",
  "charts.js",
  "tokens.js",
  "rolloutFilter.js",
  "rollouts.js",
  "page.js",
];

/** The page's own files and those of uPlot. */
export async function readPageSources(): Promise<PageSources> {
  const own = (name: string) => readFile(new URL(name, folder), "utf8");
  const { resolve } = createRequire(fileURLToPath(import.meta.url));
  const uplot = (name: string) => readFile(resolve(`uplot/dist/${name}`), "utf8");
  return {
    html: await own("page.html"),
    styles: await Promise.all([uplot("uPlot.min.css"), ...styles.map(own)]),
    scripts: await Promise.all([uplot("uPlot.iife.min.js"), ...scripts.map(own)]),
  };
}

// Writes docs/base-algorithms.md and its pictures from bench/results/base-algorithms.json.
//   node scripts/generateBaseAlgorithms.mjs                     from the data as it is
//   node scripts/generateBaseAlgorithms.mjs --train [ids...]    trains these, or all, and replaces their data
//   node scripts/generateBaseAlgorithms.mjs --check             writes nothing; exit code 1 where a file is not as it would be
// Reads dist, so `npm run build:ts` first. `npm run docs:base -- --train` does both.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { systems } from "../dist/index.js";
import { measure } from "./baseAlgorithms/measure.mjs";
import { pageOf } from "./baseAlgorithms/page.mjs";
import { recipeIds } from "./baseAlgorithms/recipes.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const dataFile = join(root, "bench", "results", "base-algorithms.json");

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    train: { type: "boolean", default: false },
    check: { type: "boolean", default: false },
    workers: { type: "string", default: String(Math.min(2, availableParallelism())) },
  },
});

const there = recipeIds.filter((id) => id in systems);
const unknown = positionals.find((id) => !there.includes(id));
if (unknown !== undefined) {
  console.error(`error: no base recipe "${unknown}"; there are ${there.join(", ")}`);
  process.exit(2);
}

if (flags.train) {
  const ids = positionals.length === 0 ? there : there.filter((id) => positionals.includes(id));
  const found = await measure(ids, Number(flags.workers), ({ id, seed }, done, all) =>
    console.error(`${done} of ${all}: ${id}, seed ${seed}`),
  );
  const before = existsSync(dataFile) ? JSON.parse(readFileSync(dataFile, "utf8")).recipes : {};
  const all = { ...before, ...found.recipes };
  const recipes = Object.fromEntries(recipeIds.flatMap((id) => (all[id] ? [[id, all[id]]] : [])));
  writeFileSync(dataFile, `${JSON.stringify({ machine: found.machine, recipes })}\n`);
}

const { page, pictures } = pageOf(JSON.parse(readFileSync(dataFile, "utf8")));
const files = {
  "docs/base-algorithms.md": page,
  ...Object.fromEntries(
    Object.entries(pictures).map(([name, svg]) => [`docs/base-algorithms/${name}`, svg]),
  ),
};
for (const [name, content] of Object.entries(files)) {
  const path = join(root, name);
  if (!flags.check) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  } else if (!existsSync(path) || readFileSync(path, "utf8") !== content) {
    console.error(`${name} is not what its data give: run npm run docs:base`);
    process.exitCode = 1;
  }
}

/**
 * The same seed gives the same bits of weights, moments and metrics (docs/reliability.md): at any number of
 * threads, stopped after every step and resumed, elsewhere, with the addon of node-gyp.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as firesteel from "../../dist/index.js";
import { flag, progress, readFlags, someOf, text, whole } from "../commandLine.mjs";
import { compareRuns } from "./compare.mjs";
import { buildWithGyp, prebuiltAddon } from "./gypAddon.mjs";
import { packageCopy } from "./packageCopy.mjs";
import { plans } from "./plans.mjs";
import { variants } from "./variants.mjs";

const names = Object.keys(plans(firesteel));
const usage = `npm run test:determinism -- [--system ID]... [--steps 6] [--addon FILE] [--json]
  systems: ${names.join(", ")}
  --addon: built by node-gyp; default: of prebuilds/, else it is built now`;

const wanted = readFlags(usage, {
  system: someOf(names),
  steps: whole(6),
  addon: text(),
  json: flag,
});
const { steps } = wanted;
const folder = mkdtempSync(join(tmpdir(), "firesteel-determinism-"));
try {
  progress("the addon of node-gyp");
  const addon = wanted.addon ?? prebuiltAddon() ?? buildWithGyp(join(folder, "gyp"));
  const addons =
    addon === null ? {} : { "the addon of node-gyp": packageCopy(join(folder, "copy"), addon) };
  const results = {};
  for (const plan of wanted.system) {
    const runs = variants(steps, addons);
    const told = (name) => progress(`${plan}: ${name}`);
    results[plan] = await compareRuns(firesteel, plan, steps, runs, folder, told);
  }
  progress("");
  report(results, addon);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function report(results, addon) {
  const all = Object.values(results).flatMap((differences) => Object.values(differences));
  const different = all.filter((difference) => difference !== null).length;
  if (wanted.json) {
    const skipped = addon === null ? ["the addon of node-gyp"] : [];
    process.stdout.write(
      `${JSON.stringify({ steps, runs: all.length, different, skipped, results })}\n`,
    );
  } else {
    const circumstances = Object.keys(Object.values(results)[0]);
    const width = Math.max(...circumstances.map((name) => name.length));
    process.stdout.write(`${"".padEnd(width)}  ${wanted.system.join("  ")}\n`);
    for (const name of circumstances) {
      const cells = wanted.system.map((plan) =>
        (results[plan][name] === null ? "same" : "DIFFERENT").padEnd(plan.length),
      );
      process.stdout.write(`${name.padEnd(width)}  ${cells.join("  ").trimEnd()}\n`);
    }
    for (const [plan, differences] of Object.entries(results)) {
      for (const [name, difference] of Object.entries(differences)) {
        if (difference !== null) process.stdout.write(`\n${plan}, ${name}: ${difference}\n`);
      }
    }
    if (addon === null) process.stdout.write("skipped: node-gyp could not build the addon\n");
    process.stdout.write(`${all.length} runs of ${steps} steps, ${different} different\n`);
  }
  process.exitCode = different === 0 ? 0 : 1;
}

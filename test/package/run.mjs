// npm run test:package: packs firesteel, installs it into an empty folder as users do, and tries it there.
import { existsSync, mkdtempSync, readFileSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { flag, progress, readFlags, text, wrongUse } from "../commandLine.mjs";
import { commands } from "./commands.mjs";
import { contents } from "./contents.mjs";
import { ways } from "./entries.mjs";
import { install, pack, remove, root, stage } from "./stage.mjs";
import { troubles } from "./trouble.mjs";

const usage = `npm run test:package -- [--short] [--only TEXT] [--keep] [--json]
  --short: the addons of out/Release stand in for prebuildify's, and \`firesteel build\` is left out
  --only: checks whose name contains TEXT
  --keep: leaves the folder, and names it
exit code 0 when all held, 1 when not, 2 for wrong use`;
const { short, json, only, keep } = readFlags(usage, {
  short: flag,
  json: flag,
  only: text(""),
  keep: flag,
});
if (
  !existsSync(join(root, "out/Release/firesteel.node")) ||
  !existsSync(join(root, "dist/cli/main.js"))
) {
  wrongUse("nothing is built: npm run build first", usage);
}

const temporary = mkdtempSync(join(tmpdir(), "firesteel-package-"));
const outcomes = [];
/** Runs one check and keeps what came of it. */
async function attempt({ name, long = false, skip = () => null, check }, context) {
  if (!name.includes(only)) return;
  const skipped = long && short ? "long form only" : skip(context);
  progress(name);
  const started = performance.now();
  let outcome = { result: "skipped", detail: skipped };
  if (skipped === null) {
    try {
      outcome = { result: "held", detail: (await check(context)) ?? "" };
    } catch (error) {
      outcome = { result: "failed", detail: error.message };
    }
  }
  outcomes.push({ name, ...outcome, seconds: (performance.now() - started) / 1000 });
}

/** What the CUDA addon adds to the tarball. */
function cudaSize(installed) {
  const path = join(
    installed,
    "prebuilds",
    `${process.platform}-${process.arch}`,
    "firesteel-cuda.node",
  );
  return existsSync(path) && statSync(path).size > 0 ? gzipSync(readFileSync(path)).length : 0;
}

try {
  progress("prebuilds");
  stage(join(temporary, "stage"), short);
  progress("npm pack");
  const packed = pack(join(temporary, "stage"), temporary);
  progress("npm ci --ignore-scripts");
  const app = join(temporary, "app");
  const installed = install(packed.tarball, app);
  const context = { temporary, app, installed, ...packed, cudaBytes: cudaSize(installed) };
  for (const check of [...contents, ...ways, ...commands, ...troubles])
    await attempt(check, context);
} catch (error) {
  outcomes.push({
    name: "prebuild, pack and install",
    result: "failed",
    detail: error.message,
    seconds: 0,
  });
} finally {
  progress("");
  if (keep) console.error(`kept: ${temporary}`);
  else remove(temporary);
}

const count = (result) => outcomes.filter((outcome) => outcome.result === result).length;
const totals = { held: count("held"), failed: count("failed"), skipped: count("skipped") };
if (json) console.log(JSON.stringify({ ...totals, outcomes }));
else {
  for (const { name, result, detail, seconds } of outcomes) {
    console.log(
      `${result.padEnd(8)}${seconds.toFixed(1).padStart(6)} s  ${name}${detail === "" ? "" : `: ${detail}`}`,
    );
  }
  console.log(`${totals.held} held, ${totals.failed} failed, ${totals.skipped} skipped`);
}
process.exitCode = totals.failed === 0 && outcomes.length > 0 ? 0 : 1;

// Runs golden cases through the built package: node test/conformance/run.mjs [--cases FILE] [--json]
// The last line of --json is {passed, failed, missing, failures}. Exit code 1 when a case fails.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import * as blocks from "../../dist/blocks/index.js";
import * as firesteel from "../../dist/index.js";
import { makeAdapters } from "./adapters.mjs";

/** Floats as far as float32 kernels can tell, everything else exactly. */
function agrees(got, want) {
  if (typeof want === "number" && typeof got === "number") {
    return got === want || Math.abs(got - want) <= 1e-5 + 1e-4 * Math.abs(want);
  }
  if (Array.isArray(want)) {
    return (
      Array.isArray(got) && got.length === want.length && want.every((x, i) => agrees(got[i], x))
    );
  }
  if (typeof want === "object" && want !== null) {
    if (typeof got !== "object" || got === null) return false;
    const keys = Object.keys(want);
    return keys.length === Object.keys(got).length && keys.every((k) => agrees(got[k], want[k]));
  }
  return got === want;
}

const { values: flags } = parseArgs({
  options: { cases: { type: "string" }, json: { type: "boolean", default: false } },
});
const cases = JSON.parse(
  readFileSync(flags.cases ?? new URL("cases.json", import.meta.url), "utf8"),
);

const engine = new firesteel.Engine();
const adapters = makeAdapters(engine, firesteel, blocks);
let passed = 0;
const missing = [];
const failures = [];
for (const { case: name, n, args, expect } of cases) {
  if (!Object.hasOwn(adapters, name)) {
    missing.push(name);
    continue;
  }
  try {
    const got = await adapters[name](args);
    if (agrees(got, expect)) passed += 1;
    else failures.push({ case: name, n, args, expect, got });
  } catch (error) {
    failures.push({ case: name, n, args, expect, error: String(error) });
  }
}
engine.dispose();

if (flags.json) {
  const failed = failures.length;
  console.log(JSON.stringify({ passed, failed, missing: missing.length, failures }));
} else {
  for (const { case: name, n, expect, got, error } of failures) {
    console.log(
      `${name} ${n}: expected ${JSON.stringify(expect)}, got ${error ?? JSON.stringify(got)}`,
    );
  }
  if (missing.length > 0) console.log(`no adapter: ${[...new Set(missing)].join(", ")}`);
  console.log(`${passed} passed, ${failures.length} failed, ${missing.length} missing`);
}
if (failures.length > 0) process.exitCode = 1;

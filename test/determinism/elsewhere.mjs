/** One run in this process or thread, with the package at a root: node elsewhere.mjs '{"plan":"grpo",...}' */
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { plans } from "./plans.mjs";

const here = fileURLToPath(new URL("../..", import.meta.url));
const { root = here, plan, steps, out } = JSON.parse(process.argv[2]);
const firesteel = await import(pathToFileURL(join(root, "dist", "index.js")).href);
await firesteel.train({ ...plans(firesteel)[plan], steps, out });
const { sharedObjects } = process.report.getReport();
const loaded = sharedObjects.filter((path) => /firesteel[^/]*\.node$/.test(path));
if (!loaded.every((path) => path.startsWith(root)) || loaded.length === 0) {
  throw new Error(`Expected the addon of ${root} but ${loaded.join(", ") || "none"} is loaded`);
}
process.disconnect?.();

// Given to `node --import`: kills the process at one of its file operations.
// FIRESTEEL_CRASH='{"root": FOLDER, "at": N, "when": "before"|"half"|"after"}'
import { killingAt } from "./faults.mjs";
import { watchFiles } from "./fileOperations.mjs";

const { root, at, when } = JSON.parse(process.env.FIRESTEEL_CRASH);
await watchFiles(root, killingAt(at, when));

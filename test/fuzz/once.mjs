/** One input through one target, without libFuzzer: node test/fuzz/once.mjs TARGET FILE */
import { readFileSync } from "node:fs";
import { loadTarget } from "./targets.mjs";

const [name, file] = process.argv.slice(2);
const { fuzz } = await loadTarget(name);
await fuzz(readFileSync(file));
process.stdout.write(`${name} holds\n`);
process.exit(0);

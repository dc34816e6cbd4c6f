// npm run bench:report: every kernel with its peers, into bench/results, docs/performance.md and its plot.
// With names, a report of these kernels alone. Reads dist; FIRESTEEL_PYTHON names the Python with PyTorch
// and numpy.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { tokenLossBench } from "../../dist/bench/kernels/tokenLoss.js";
import { findPeers } from "../../dist/bench/peers/find.js";
import { runBench } from "../../dist/bench/run.js";
import { benches } from "../../dist/cli/benches.js";
import { Engine, linearLogProbMemory, version } from "../../dist/index.js";
import { fill, machineSlug, performanceParts } from "./markdown.mjs";
import { pairedRatio } from "./paired.mjs";
import { roofline } from "./roofline.mjs";

const root = join(import.meta.dirname, "../..");
const asked = process.argv.slice(2);
const wanted = benches.filter(({ name }) => asked.length === 0 || asked.includes(name));
const onProgress = (what) => process.stderr.isTTY && process.stderr.write(`\r\x1b[K${what}`);

/** All that is wanted, or those of `names` that are, beside the peers. */
async function run(threads, names) {
  const found = await findPeers(threads);
  try {
    const chosen = wanted.filter(({ name }) => names?.includes(name) ?? true);
    const peers = found.peers;
    return { ...(await runBench(chosen, { threads, peers, onProgress })), missing: found.missing };
  } finally {
    found.close();
  }
}

/** log-prob on the instruction set below, in a process of its own: it is chosen when the addon loads. */
function withAvx2() {
  const cli = join(root, "dist/cli/main.js");
  const env = { ...process.env, FIRESTEEL_ISA: "avx2" };
  const out = execFileSync(process.execPath, [cli, "bench", "log-prob", "--json"], { env });
  return JSON.parse(out).find((r) => r.kernel === "log-prob forward" && r.dtype === "f32");
}

/** How many times as long the three calls take as the fused one. */
async function fusedRatios() {
  const ratios = {};
  for (const dtype of ["f32", "bf16"]) {
    ratios[dtype] = {
      inPlace: await pairedRatio(tokenLossBench, "three calls in place", "fused in place", dtype),
      elsewhere: await pairedRatio(tokenLossBench, "three calls", "fused", dtype),
    };
  }
  return ratios;
}

const engine = new Engine();
const { threads, device } = engine.info;
engine.dispose();

const all = await run(device === "cpu" ? threads : undefined);
const onCpu = device === "cpu";
const single =
  onCpu && threads > 1 ? await run(1, ["matmul", "group-norm", "surrogate"]) : undefined;
const qwen = { tokens: 1024, vocab: 151_936, hidden: 896, dtype: "f32", device };
const report = {
  machine: {
    ...{ firesteel: version, node: process.version, cpu: cpus()[0].model.trim() },
    ...all.machine,
  },
  ceilings: all.ceilings,
  results: all.results,
  missing: all.missing,
  single: single && { ceilings: single.ceilings, results: single.results },
  avx2: onCpu && all.machine.name === "avx512" ? withAvx2() : undefined,
  fused: wanted.includes(tokenLossBench) ? await fusedRatios() : undefined,
  linearExtraMiB: linearLogProbMemory(qwen).forward / 2 ** 20,
};

const slug = machineSlug(report.machine);
const write = (path, text) => {
  mkdirSync(join(root, path, ".."), { recursive: true });
  writeFileSync(join(root, path), text);
  console.log(path);
};
write(`bench/results/${slug}.json`, `${JSON.stringify(report, null, 1)}\n`);
write(`docs/performance/roofline-${slug}.svg`, roofline(report, `Roofline of ${slug}`));
const page = readFileSync(join(root, "docs/performance.md"), "utf8");
write("docs/performance.md", fill(page, performanceParts(report, benches, slug)));

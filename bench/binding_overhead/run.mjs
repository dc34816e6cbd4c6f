// What a call costs through our Node-API addon and through NAN: a call that does nothing, and
// group_norm of 64 groups of 16, the same kernel code on the same values. Interleaved in one run;
// medians of batches of calls.
//   npm run bench:binding [-- --json] [-- --quick]      after `npm run build`
import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { handleOf } from "../../dist/engine/tensor.js";
import { Engine, groupNorm, Offsets } from "../../dist/index.js";

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);
const target = 1.5;
const groups = 64;
const groupSize = 16;

function nanBinding() {
  const library = join(here, "..", "..", "out", "libfiresteel_core.a");
  const binding = join(here, "build", "Release", "nan_binding.node");
  if (!existsSync(library)) throw new Error("expected a build: run `npm run build` first");
  const fresh = existsSync(binding) && statSync(binding).mtimeMs > statSync(library).mtimeMs;
  if (!fresh) {
    const gyp = require.resolve("node-gyp/bin/node-gyp.js");
    // Headers that came with this node, where they did: no download.
    const prefix = join(dirname(process.execPath), "..");
    const headers = existsSync(join(prefix, "include", "node", "node.h"));
    const nodedir = headers ? [`--nodedir=${prefix}`] : [];
    const build = spawnSync(process.execPath, [gyp, "rebuild", ...nodedir], {
      cwd: here,
      encoding: "utf8",
    });
    if (build.status !== 0) throw new Error(`node-gyp failed:\n${build.stdout}${build.stderr}`);
  }
  return require(binding);
}

const nan = nanBinding();
const engine = new Engine({ device: "cpu", threads: 1 });
const { addon, handle } = engine;

const values = Float32Array.from({ length: groups * groupSize }, (_, i) => Math.sin(i * i));
const offsets = Int32Array.from({ length: groups + 1 }, (_, g) => g * groupSize);
const plain = {
  advantage: new Float32Array(values.length),
  center: new Float32Array(groups),
  scale: new Float32Array(groups),
};
const tensor = engine.tensor(values);
const groupOffsets = new Offsets(engine, offsets);
const out = groupNorm(engine, tensor, { groupOffsets });
const gone = engine.empty([1]);
const goneHandle = handleOf(gone, "gone");
gone.dispose();

// The arguments of the native call; numbers of choices in the order of groupNormTable.ts.
const offsetTensor = handleOf(engine.tensor(offsets), "offsets");
const scalars = Float64Array.of(0, 0, 0, 0, 0, 0, 1, 1e-4, 0.5, 1);
const tensors = [tensor, out.advantage, out.center, out.scale].map((t) => handleOf(t, "tensor"));
const ours = () =>
  addon.groupNorm(
    ...[handle, values.length, groups, 1, scalars, 0, false],
    ...[tensors[0], null, offsetTensor, null, null, tensors[1], tensors[2], tensors[3]],
  );
const rule = Float64Array.of(1, 1e-4);
const theirs = () =>
  nan.groupNorm(groups, rule, values, offsets, plain.advantage, plain.center, plain.scale);

const cases = [
  { name: "nothing", ours: () => addon.dispose(goneHandle), nan: () => nan.nothing(values) },
  {
    name: `group_norm ${groups} x ${groupSize}`,
    ours,
    nan: theirs,
    public: () => groupNorm(engine, tensor, { groupOffsets, out }),
  },
];

function checkSame() {
  ours();
  theirs();
  const read = out.advantage.readSync();
  const same = read.every((value, i) => Object.is(value, plain.advantage[i]));
  if (!same || read.every((value) => value === 0)) throw new Error("the two ways differ");
}

/** Medians in microseconds a call; batches of the different ways take turns. */
function measure(ways) {
  const [batches, calls] = process.argv.includes("--quick") ? [1, 10] : [61, 2000];
  const times = new Map(Object.keys(ways).map((way) => [way, []]));
  for (let b = -10; b < batches; ++b) {
    for (const [way, call] of Object.entries(ways)) {
      const begun = performance.now();
      for (let i = 0; i < calls; ++i) call();
      if (b >= 0) times.get(way).push(((performance.now() - begun) * 1e3) / calls);
    }
  }
  const median = (list) => list.sort((x, y) => x - y)[list.length >> 1];
  return Object.fromEntries([...times].map(([way, list]) => [way, median(list)]));
}

checkSame();
const results = cases.map(({ name, ...ways }) => {
  const us = measure(ways);
  return { name, us, ratio: us.ours / us.nan, target };
});
engine.dispose();
if (process.argv.includes("--json")) {
  console.log(JSON.stringify(results));
} else {
  for (const { name, us, ratio } of results) {
    const published = us.public === undefined ? "" : `; with TypeScript ${us.public.toFixed(2)} us`;
    console.log(
      `${name}: Node-API ${us.ours.toFixed(3)} us, NAN ${us.nan.toFixed(3)} us, ` +
        `ratio ${ratio.toFixed(2)} (target ${target})${published}`,
    );
  }
}

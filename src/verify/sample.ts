import type { Engine } from "../engine/engine.js";
import { sample } from "../engine/nn/sample.js";
import { cumulative, greedy } from "../reference/sample.js";
import { type Check, firstOf } from "./check.js";
import { close, sameBits, values } from "./compare.js";
import { faultsOf, logitRows, Random, withThreads } from "./inputs.js";

const family = "sample";

/** Cumulative probabilities are float sums: a uniform this close to a step may fall on either side. */
const NEAR = 4e-6;

/** Whether a token covers u in the distribution of its row. */
function checkDraws(
  logits: Float32Array,
  vocab: number,
  uniform: Float32Array,
  temperature: number,
  got: ArrayLike<number>,
): string | null {
  for (const [row, u] of uniform.entries()) {
    const sums = cumulative(logits.subarray(row * vocab, (row + 1) * vocab), temperature);
    const token = got[row]!;
    const below = token === 0 ? 0 : sums[token - 1];
    const above = sums[token];
    if (below === undefined || above === undefined) return `row ${row}: token ${token} of ${vocab}`;
    if (!(below < above)) return `row ${row}: token ${token} has probability 0`;
    if (u < below - NEAR || u > above + NEAR) {
      return `row ${row}: token ${token} covers ${below} to ${above}, not ${u}`;
    }
  }
  return null;
}

function drawCheck(vocab: number, rows: number, temperature: number, holes: boolean): Check {
  return {
    family,
    name: `V=${vocab}, temperature ${temperature}${holes ? ", with -inf logits" : ""}`,
    run(engine) {
      const random = new Random(vocab);
      const logits = Float32Array.from(logitRows(random, rows, vocab));
      if (holes) for (let i = 0; i < logits.length; i += 3) logits[i] = Number.NEGATIVE_INFINITY;
      const uniform = Float32Array.from({ length: rows }, (_, row) =>
        row === 0 ? 0 : row === 1 ? 1 - 2 ** -24 : (row - 0.5) / rows,
      );
      const z = engine.tensor(logits, [rows, vocab]);
      const got = values(sample(engine, z, { uniform, temperature }));
      return checkDraws(logits, vocab, uniform, temperature, got);
    },
  };
}

export function sampleChecks(device: Engine["device"]): Check[] {
  const large = device === "emulated" ? 4096 : 50260;
  const infinity = Number.POSITIVE_INFINITY;
  return [
    drawCheck(1, 4, 1, false),
    drawCheck(2, 8, 1, false),
    drawCheck(31, 60, 1, false),
    drawCheck(31, 60, 0.5, true),
    drawCheck(1000, 20, 1.7, true),
    drawCheck(large, 6, 1, false),
    {
      family,
      name: "greedy takes the first maximum",
      run(engine) {
        const logits = Float32Array.from(logitRows(new Random(1), 6, 100));
        logits.fill(50, 230, 233); // a tie in row 2
        logits.fill(-infinity, 400, 499); // one choice in row 4
        const want = [0, 1, 2, 3, 4, 5].map((r) => greedy(logits.subarray(r * 100, (r + 1) * 100)));
        const z = engine.tensor(logits, [6, 100]);
        return close("tokens", values(sample(engine, z, { greedy: true })), want, 0);
      },
    },
    {
      family,
      name: "NaN, +inf and all -inf give -1 and are reported",
      run(engine) {
        const logits = new Float32Array(5 * 40);
        logits[45] = Number.NaN;
        logits[100] = infinity;
        logits.fill(-infinity, 120, 160);
        const { finding, faults } = faultsOf(engine, (own) => {
          const z = own.tensor(logits, [5, 40]);
          const uniform = new Float32Array(5).fill(0.5);
          const want = [19.5, -1, -1, -1, 19.5];
          return firstOf(
            close("tokens", values(sample(own, z, { uniform })), want, 0.5),
            close("greedy", values(sample(own, z, { greedy: true })), [0, -1, -1, -1, 0], 0),
          );
        });
        const told = (kind: string, count: number, row: number) =>
          faults.some((f) => f.kind === kind && f.count === count && f.firstRow === row);
        if (finding !== null) return finding;
        if (told("not-a-number", 2, 1) && told("no-support", 1, 3)) return null;
        return `reported ${JSON.stringify(faults)}`;
      },
    },
    {
      family,
      name: "a row draws the same token in any batch, with one thread or two",
      run(engine) {
        const logits = Float32Array.from(logitRows(new Random(2), 30, 300));
        const uniform = Float32Array.from({ length: 30 }, (_, row) => (row + 0.5) / 30);
        const [one, two] = withThreads(engine, (own) =>
          sample(own, own.tensor(logits, [30, 300]), { uniform }).readSync(),
        );
        const part = engine.tensor(logits.slice(11 * 300, 14 * 300), [3, 300]);
        const alone = sample(engine, part, { uniform: uniform.slice(11, 14) }).readSync();
        return firstOf(
          sameBits("tokens", one, two),
          close("tokens of rows 11 to 13", alone, one.slice(11, 14), 0),
        );
      },
    },
  ];
}

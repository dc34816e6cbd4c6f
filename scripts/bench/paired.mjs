// Two variants of a kernel in turns, so that a machine that changes its pace does so for both.
import { uploadAll } from "../../dist/bench/inputs.js";
import { Engine } from "../../dist/index.js";

/** How many times as long `slow` takes as `fast`: the median over rounds of one call each. */
export async function pairedRatio(bench, slow, fast, dtype, rounds = 41) {
  const engine = new Engine();
  try {
    const calls = [slow, fast].map((variant) => {
      const c = bench.cases({ device: engine.device, full: false }).find((x) => {
        return x.variant === variant && x.dtype === dtype;
      });
      const state = bench.prepare(engine, uploadAll(engine, bench.inputs(c)), c);
      return async () => {
        const begun = performance.now();
        engine.scope(() => void bench.run(engine, state, c));
        await engine.synchronize();
        return performance.now() - begun;
      };
    });
    const ratios = [];
    for (let round = -2; round < rounds; ++round) {
      const [a, b] = [await calls[0](), await calls[1]()];
      if (round >= 0) ratios.push(a / b);
    }
    return ratios.sort((a, b) => a - b)[rounds >> 1];
  } finally {
    engine.dispose();
  }
}

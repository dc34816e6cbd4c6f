import type { Engine } from "../../engine/engine.js";
import type { FlowNoise } from "../../engine/kernels/flowCoefficients.js";
import { type FlowStepResult, flowStep, flowStepBackward } from "../../engine/kernels/flowStep.js";
import { gaussianLogProb } from "../../engine/kernels/gaussian.js";
import type { Tensor } from "../../engine/tensor.js";
import { type Check, firstOf } from "../check.js";
import { close, identical, sameBits, values, zero } from "../compare.js";
import { faultsOf, withThreads } from "../inputs.js";
import { callFlow, type FlowBatch, flowBatch, noises } from "./flowStep.js";

const family = "gaussian";

/** The step's log-prob is that of its mean and std as a Gaussian, bit for bit. */
function sameAsGaussian(noise: FlowNoise): Check {
  return {
    family,
    name: `flow step ${noise.kind}: its log-prob is gaussianLogProb of what it returns`,
    run(engine) {
      const { step } = callFlow(engine, flowBatch(4, 77), noise);
      const { next: value, mean, std } = step;
      const { logProb, slope } = gaussianLogProb(engine, { value, mean, std });
      return firstOf(
        identical("logProb", logProb, step.logProb),
        identical("slope", slope, step.slope),
      );
    },
  };
}

const deterministic: Check = {
  family,
  name: "deterministic steps: next = mean, log-prob 0; only what comes from elsewhere flows back",
  run(engine) {
    const b = flowBatch(4, 6);
    const noise: FlowNoise = { kind: "sde", noiseLevel: 0 };
    const { sigma, sigmaNext } = b;
    const { finding, faults } = faultsOf(engine, (own) => {
      const tensor = (x: Float32Array) => own.tensor(x, [4, 6]);
      const inputs = { x: tensor(b.x), v: tensor(b.v), sigma, sigmaNext };
      const filth = tensor(new Float32Array(24).fill(Number.NaN));
      const none = flowStep(own, inputs, noise);
      const ignored = flowStep(own, { ...inputs, noise: filth }, noise);
      const { next, mean, slope, vScale } = none;
      const dMean = tensor(b.dMean);
      const ones = new Float32Array(4).fill(1);
      const back = (more: { dMean?: Tensor }) =>
        values(flowStepBackward(own, { next, mean, slope, vScale, dLogProb: ones, ...more }));
      const want = b.dMean.map((d, i) => d * values(vScale)[Math.floor(i / 6)]!);
      return firstOf(
        identical("next", next, mean),
        identical("next with noise", ignored.next, mean),
        zero("logProb", values(none.logProb)),
        zero("dV", back({})),
        close("dV of dMean", back({ dMean }), want, 0),
      );
    });
    return finding ?? (faults.length === 0 ? null : `faults reported: ${JSON.stringify(faults)}`);
  },
};

function fault(name: "x" | "v" | "noise"): Check {
  return {
    family,
    name: `flow step: NaN in ${name}: log-prob NaN, gradient 0, reported, others untouched`,
    run(engine) {
      const b = flowBatch(3, 30);
      const clean = callFlow(engine, b, noises[0]!);
      b[name][35] = Number.NaN;
      const { finding, faults } = faultsOf(engine, (own) => {
        const got = callFlow(own, b, noises[0]!);
        const same = (what: keyof FlowStepResult, s: number) =>
          identical(
            `${what} of ${s}`,
            got.step[what].rows(s, s + 1),
            clean.step[what].rows(s, s + 1),
          );
        return firstOf(
          close("logProb", values(got.step.logProb.rows(1, 2)), [Number.NaN], 0),
          zero("dV", values(got.dV.rows(1, 2))),
          ...[0, 2].flatMap((s) => [
            same("logProb", s),
            same("mean", s),
            same("next", s),
            identical(`dV of ${s}`, got.dV.rows(s, s + 1), clean.dV.rows(s, s + 1)),
          ]),
        );
      });
      if (finding !== null) return finding;
      const right = faults.every(
        (f) => f.kind === "not-a-number" && f.count === 1 && f.firstRow === 1,
      );
      return faults.length > 0 && right ? null : `reported ${JSON.stringify(faults)}`;
    },
  };
}

/** What must not change a bit, deterministic steps, and what is wrong. */
export function flowStepEdgeChecks(device: Engine["device"]): Check[] {
  const wide = device === "emulated" ? 4500 : 40_001;
  return [
    ...noises.slice(0, 2).map(sameAsGaussian),
    deterministic,
    ...(["x", "v", "noise"] as const).map(fault),
    {
      family,
      name: "flow step: numbers as noise levels are the same as one each",
      run(engine) {
        const b = flowBatch(3, 10);
        const each = { ...b, sigma: [0.4, 0.4, 0.4], sigmaNext: [0.3, 0.3, 0.3] };
        const shape = [3, 10];
        const [x, v] = [engine.tensor(b.x, shape), engine.tensor(b.v, shape)];
        const noise = engine.tensor(b.noise, shape);
        const one = flowStep(engine, { x, v, noise, sigma: 0.4, sigmaNext: 0.3 }, noises[0]!);
        const got = callFlow(engine, each, noises[0]!).drawn;
        const names = Object.keys(one) as (keyof FlowStepResult)[];
        return firstOf(...names.map((name) => identical(name, got[name], one[name])));
      },
    },
    {
      family,
      name: "flow step: a sample gives the same bits alone and with one or two threads",
      run(engine) {
        const b = flowBatch(3, wide);
        const [one, two] = withThreads(engine, (own) => {
          const { drawn, dV } = callFlow(own, b, noises[0]!);
          return [drawn.next, drawn.logProb, dV].map((tensor) => tensor.readSync());
        });
        const part = <T extends Float32Array>(x: T) => x.slice(wide, 2 * wide);
        const alone: FlowBatch = {
          x: part(b.x),
          v: part(b.v),
          noise: part(b.noise),
          dMean: part(b.dMean),
          dLogProb: b.dLogProb.slice(1, 2),
          sigma: b.sigma.slice(1, 2),
          sigmaNext: b.sigmaNext.slice(1, 2),
          samples: 1,
          width: wide,
        };
        const got = callFlow(engine, alone, noises[0]!);
        return firstOf(
          ...one.map((array, i) => sameBits(`output ${i}`, array, two[i]!)),
          sameBits("next", got.drawn.next.readSync(), part(one[0] as Float32Array)),
          sameBits("logProb", got.drawn.logProb.readSync(), one[1]!.slice(1, 2)),
          sameBits("dV", got.dV.readSync(), part(one[2] as Float32Array)),
        );
      },
    },
  ];
}

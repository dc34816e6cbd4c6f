import type { Engine } from "../engine/engine.js";
import { adamw, sumSquares } from "../engine/nn/adamw.js";
import type { Tensor } from "../engine/tensor.js";
import {
  type AdamWSetting,
  adamw as reference,
  sumSquares as squares,
} from "../reference/adamw.js";
import { type Check, firstOf } from "./check.js";
import { close, F32_ROUNDING, sameBits, values } from "./compare.js";
import { Random, typed, withThreads } from "./inputs.js";

const family = "adamw";
const count = 1003;

/** Three steps, each from the kernel's own state: errors do not pile up, and the moments are not 0. */
function checkSteps(engine: Engine, setting: Omit<AdamWSetting, "step">): string | null {
  const random = new Random(1);
  const tensors = {
    param: engine.tensor(random.normals(count)),
    m: engine.zeros([count]),
    v: engine.zeros([count]),
  };
  const { beta1, beta2, lr } = setting;
  // The betas are floats in the kernel: 1 - beta has lost what beta's rounding is of it.
  const betaError = F32_ROUNDING / (1 - Math.max(beta1, beta2));
  const relative = 8 * F32_ROUNDING + betaError;
  for (let step = 1; step <= 3; ++step) {
    const before = { param: values(tensors.param), m: values(tensors.m), v: values(tensors.v) };
    const data = random.normals(count, step);
    const grad = engine.tensor(data);
    const total = engine.zeros([1], "f64");
    sumSquares(engine, grad, total);
    const { maxGradNorm, ...rest } = setting;
    const clipping = maxGradNorm === undefined ? {} : { gradSquare: total, maxGradNorm };
    adamw(engine, { tensors: [{ ...tensors, grad }], ...rest, step, ...clipping });
    const want = reference(before, data, { ...setting, step });
    const mean = Float64Array.from(before.m, (m, i) => Math.abs(m) + Math.abs(want.m[i]!));
    // Where m nearly cancels, the update is relative to what cancelled; it is at most a few lr.
    const finding = firstOf(
      close("sum of squares", values(total), [squares(data)], 1e-12 * squares(data)),
      close("m", values(tensors.m), want.m, (i) => relative * mean[i]! + 1e-37),
      close("v", values(tensors.v), want.v, (i) => relative * want.v[i]! + 1e-37),
      close("param", values(tensors.param), want.param, (i) => {
        return 4 * F32_ROUNDING * Math.abs(want.param[i]!) + 4 * relative * lr;
      }),
    );
    if (finding !== null) return `step ${step}: ${finding}`;
  }
  return null;
}

/** A gradient that is not finite anywhere leaves everything as it was. */
function unusable(value: number): Check {
  return {
    family,
    name: `a gradient with ${value} changes nothing`,
    run(engine) {
      const random = new Random(2);
      const data = [
        random.normals(count),
        random.normals(count),
        random.normals(count).map(Math.abs),
      ];
      const [param, m, v] = data.map((x) => engine.tensor(x));
      const grad = engine.tensor(random.normals(count).map((g, i) => (i === 700 ? value : g)));
      const gradSquare = engine.zeros([1], "f64");
      sumSquares(engine, grad, gradSquare);
      const numbers = { lr: 0.1, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, step: 1 };
      const tensors = [{ param: param!, grad, m: m!, v: v! }];
      adamw(engine, { tensors, ...numbers, gradSquare, maxGradNorm: 1 });
      return firstOf(
        ...[param, m, v].map((tensor, i) => sameBits(`state ${i}`, tensor!.readSync(), data[i]!)),
      );
    },
  };
}

/** Sizes of more tensors than one launch takes: nothing, parts of vectors, more than a block. */
const sizes = [1, 0, 3, 17, 64, 9001, 5, 2, 33, 8, 250, 1003];

/**
 * Three clipped steps of float32 parameters, and of 16-bit ones with masters, one call for all: the
 * masters and moments keep the bits of the former, and the parameters are the masters rounded once.
 */
function checkMasters(engine: Engine, dtype: "bf16" | "f16"): string | null {
  const random = new Random(5);
  const start = sizes.map((size) => random.normals(size));
  const plain = start.map((data) => stateOf(engine, engine.tensor(data)));
  const narrow = start.map((data) => ({
    ...stateOf(engine, engine.tensor(typed(data, dtype).data, [data.length], dtype)),
    master: engine.tensor(data),
  }));
  const numbers = { lr: 1e-2, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 };
  for (let step = 1; step <= 3; ++step) {
    const grads = sizes.map((size) => engine.tensor(random.normals(size)));
    const gradSquare = engine.zeros([1], "f64");
    sumSquares(engine, grads, gradSquare);
    for (const states of [plain, narrow]) {
      const tensors = states.map((state, i) => ({ ...state, grad: grads[i]! }));
      adamw(engine, { tensors, ...numbers, step, gradSquare, maxGradNorm: 1 });
    }
  }
  return firstOf(
    ...plain.flatMap(({ param, m, v }, i) => [
      sameBits(`master ${i}`, narrow[i]!.master.readSync(), param.readSync()),
      sameBits(`m ${i}`, narrow[i]!.m.readSync(), m.readSync()),
      sameBits(`v ${i}`, narrow[i]!.v.readSync(), v.readSync()),
      sameBits(`param ${i}`, narrow[i]!.param.readSync(), typed(values(param), dtype).data),
    ]),
  );
}

function stateOf(engine: Engine, param: Tensor) {
  return { param, m: engine.zeros(param.shape), v: engine.zeros(param.shape) };
}

export function adamwChecks(device: Engine["device"]): Check[] {
  const usual = { lr: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0 };
  // Betas that are floats exactly leave the kernel no excuse.
  const exact = { lr: 1e-2, beta1: 0.875, beta2: 0.96875, eps: 1e-6, weightDecay: 0.1 };
  const steps = (name: string, setting: Omit<AdamWSetting, "step">): Check => ({
    family,
    name,
    run: (engine) => checkSteps(engine, setting),
  });
  return [
    steps("three steps, no clipping", usual),
    steps("beta2 0.999", { ...usual, beta2: 0.999 }),
    steps("weight decay", exact),
    steps("clipped by the global norm", { ...exact, maxGradNorm: 1 }),
    steps("a norm below the limit is left alone", { ...exact, maxGradNorm: 1e6 }),
    steps("no learning rate", { ...exact, lr: 0 }),
    ...(["bf16", "f16"] as const).map(
      (dtype): Check => ({
        family,
        name: `${dtype} parameters: their masters are float32 parameters to the bit`,
        run: (engine) => checkMasters(engine, dtype),
      }),
    ),
    {
      family,
      name: "squares of several tensors add up, as one by one",
      run(engine) {
        const random = new Random(6);
        const parts = Array.from({ length: 40 }, (_, i) => random.normals(i % 7 === 3 ? 0 : 9 * i));
        const total = engine.zeros([1], "f64");
        sumSquares(
          engine,
          parts.map((part) => engine.tensor(part)),
          total,
        );
        const want = parts.reduce((sum, part) => sum + squares(part), 0);
        return close("total", values(total), [want], 1e-12 * want);
      },
    },
    unusable(Number.NaN),
    unusable(Number.POSITIVE_INFINITY),
    {
      family,
      name: "squares add up over calls, with the same bits for one thread and two",
      run(engine) {
        const x = new Random(3).normals(device === "emulated" ? 5000 : 300_000, 1e3);
        const sum = (own: Engine) => {
          const total = own.zeros([1], "f64");
          sumSquares(own, own.tensor(x), total);
          sumSquares(own, own.tensor(x), total);
          return total.readSync();
        };
        const [one, two] = withThreads(engine, sum);
        const want = 2 * squares(x);
        // The reference adds 300,000 numbers one by one, which costs it some 1e-13.
        return firstOf(sameBits("total", one, two), close("total", one, [want], 1e-12 * want));
      },
    },
  ];
}

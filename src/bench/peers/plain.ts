import type { HostArray } from "../inputs.js";
import { samplePlain } from "../measure.js";
import type { Peer, PeerTask } from "./peer.js";

type Sizes = Readonly<Record<string, number>>;
type Arrays = Readonly<Record<string, Float32Array>>;
type Values = Record<string, Float32Array>;

/** What one writes without a library: loops over typed arrays. */
const plain: Readonly<Record<string, (arrays: Arrays, sizes: Sizes) => Values>> = {
  "log-prob forward"({ logits, targets }, { T, V }) {
    const logProb = new Float32Array(T!);
    for (let t = 0; t < T!; ++t) {
      const row = logits!.subarray(t * V!, (t + 1) * V!);
      let max = Number.NEGATIVE_INFINITY;
      for (let v = 0; v < V!; ++v) if (row[v]! > max) max = row[v]!;
      let sum = 0;
      for (let v = 0; v < V!; ++v) sum += Math.exp(row[v]! - max);
      logProb[t] = row[targets![t]!]! - max - Math.log(sum);
    }
    return { logProb };
  },

  "matmul square"({ a, b }, { M, N, K }) {
    const product = new Float32Array(M! * N!);
    for (let i = 0; i < M!; ++i) {
      const row = product.subarray(i * N!, (i + 1) * N!);
      for (let k = 0; k < K!; ++k) {
        const left = a![i * K! + k]!;
        const right = b!.subarray(k * N!, (k + 1) * N!);
        for (let j = 0; j < N!; ++j) row[j]! += left * right[j]!;
      }
    }
    return { product };
  },

  "group-norm": groupNorm,
  "group-norm small": groupNorm,
  surrogate,
  "surrogate small": surrogate,

  kl({ logProb, refLogProb }, { T, R }) {
    const kl = new Float32Array(T!);
    const rowKl = new Float32Array(R!);
    const length = T! / R!;
    for (let t = 0; t < T!; ++t) {
      const d = refLogProb![t]! - logProb![t]!;
      kl[t] = Math.exp(d) - d - 1;
      rowKl[Math.floor(t / length)]! += kl[t]!;
    }
    return { kl };
  },

  "rms-norm forward"({ x, weight }, { R, W }) {
    const y = new Float32Array(R! * W!);
    for (let r = 0; r < R!; ++r) {
      let sum = 0;
      for (let i = r * W!; i < (r + 1) * W!; ++i) sum += x![i]! * x![i]!;
      const inverse = 1 / Math.sqrt(sum / W! + 1e-6);
      for (let i = 0; i < W!; ++i) y[r * W! + i] = x![r * W! + i]! * inverse * weight![i]!;
    }
    return { y };
  },

  adamw({ param, grad, m, v }, { N }) {
    const [lr, beta1, beta2, eps, decay, step] = [1e-3, 0.9, 0.95, 1e-8, 0.1, 10];
    const [biasM, biasV] = [1 - beta1 ** step, 1 - beta2 ** step];
    for (let i = 0; i < N!; ++i) {
      const g = grad![i]!;
      m![i] = beta1 * m![i]! + (1 - beta1) * g;
      v![i] = beta2 * v![i]! + (1 - beta2) * g * g;
      const update = m![i]! / biasM / (Math.sqrt(v![i]! / biasV) + eps);
      param![i] = param![i]! * (1 - lr * decay) - lr * update;
    }
    return { param: param! };
  },
};

function groupNorm({ values }: Arrays, { R, G }: Sizes): Values {
  const advantage = new Float32Array(R!);
  const size = R! / G!;
  for (let g = 0; g < G!; ++g) {
    let sum = 0;
    for (let i = g * size; i < (g + 1) * size; ++i) sum += values![i]!;
    const mean = sum / size;
    let squares = 0;
    for (let i = g * size; i < (g + 1) * size; ++i) squares += (values![i]! - mean) ** 2;
    const divisor = Math.sqrt(squares / (size - 1)) + 1e-4;
    for (let i = g * size; i < (g + 1) * size; ++i) advantage[i] = (values![i]! - mean) / divisor;
  }
  return { advantage };
}

/** The loss and its gradient alone, without the metrics of firesteel's call. */
function surrogate(arrays: Arrays, { T, R }: Sizes): Values {
  const { logProb, oldLogProb, advantage, mask } = arrays;
  const dLogProb = new Float32Array(T!);
  const length = T! / R!;
  let loss = 0;
  for (let t = 0; t < T!; ++t) {
    if (mask![t] === 0) continue;
    const A = advantage![Math.floor(t / length)]!;
    const ratio = Math.exp(logProb![t]! - oldLogProb![t]!);
    const clipped = Math.min(Math.max(ratio, 0.8), 1.28);
    loss -= Math.min(ratio * A, clipped * A);
    if (ratio * A <= clipped * A) dLogProb[t] = -ratio * A;
  }
  return { dLogProb, loss: Float32Array.of(loss) };
}

/** `data` as often as it stands there, as the numbers of a typed array. */
function whole({ data, repeat = 1 }: HostArray): Float32Array {
  const Type = data.constructor as new (length: number) => Float32Array;
  const out = new Type(data.length * repeat);
  for (let i = 0; i < repeat; ++i) out.set(data as Float32Array, i * data.length);
  return out;
}

/** More than this many multiplications take seconds. */
const mostProducts = 2 ** 28;

export function plainJavaScript(): Peer {
  let call: ((index: number) => Values) | null = null;
  return {
    name: "plain JavaScript",
    async prepare({ task, dtype, sizes, inputs, copies }: PeerTask) {
      const compute = plain[task];
      const products = (sizes.M ?? 0) * (sizes.N ?? 0) * (sizes.K ?? 0);
      if (compute === undefined || dtype !== "f32" || products > mostProducts) return null;
      const arrays = Array.from({ length: copies }, () =>
        Object.fromEntries(Object.entries(inputs).map(([name, array]) => [name, whole(array)])),
      );
      call = (index) => compute(arrays[index % copies]!, sizes);
      const { loss: _, ...values } = call(0);
      return Object.fromEntries(
        Object.entries(values).map(([name, array]) => [name, array.slice(0, 1000)]),
      );
    },
    time: async (options) => samplePlain(call!, options),
    async release() {
      call = null;
    },
    close() {},
  };
}

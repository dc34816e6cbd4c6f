// TensorFlow.js on WebAssembly: XNNPACK's products, its own elementwise kernels. It refuses threads under
// Node (WASM_HAS_MULTITHREAD_SUPPORT is false there), so its figures are always those of one.
import { createRequire } from "node:module";
import { dirname } from "node:path";

const require = createRequire(import.meta.url);

export async function open() {
  const missing = Object.assign(new Error("not installed"), { code: "ERR_MODULE_NOT_FOUND" });
  let tf, wasm;
  try {
    tf = require("@tensorflow/tfjs-core");
    wasm = require("@tensorflow/tfjs-backend-wasm");
  } catch {
    throw missing;
  }
  console.warn = () => {};
  wasm.setWasmPaths(`${dirname(require.resolve("@tensorflow/tfjs-backend-wasm"))}/`);
  await tf.setBackend("wasm");
  await tf.ready();

  /** A task from named arrays to named results; the backend computes at once. */
  const task = (compute) => (arrays, sizes) => {
    const tensors = Object.fromEntries(
      Object.entries(arrays).map(([name, { data, shape }]) => [
        name,
        tf.tensor(data, shape, data instanceof Int32Array ? "int32" : "float32"),
      ]),
    );
    return {
      call: () => tf.tidy(() => void compute(tensors, sizes)),
      values: () =>
        tf.tidy(() => {
          const out = Object.entries(compute(tensors, sizes));
          return Object.fromEntries(out.map(([name, x]) => [name, x.dataSync()]));
        }),
      release: () => tf.dispose(tensors),
    };
  };
  /** By eights of the batch: its heap does not hold several times all logits. */
  const logProb = (logits, targets) => {
    const rows = logits.shape[0] / 8;
    const parts = Array.from({ length: 8 }, (_, i) =>
      tf.tidy(() => {
        const part = tf.slice(logits, [i * rows, 0], [rows, -1]);
        const chosen = tf.expandDims(tf.slice(targets, i * rows, rows), 1);
        return tf.sub(tf.squeeze(tf.gather(part, chosen, 1, 1), [1]), tf.logSumExp(part, 1));
      }),
    );
    return tf.concat(parts);
  };
  const groupNorm = task(({ values }, { G, R }) => {
    const x = tf.reshape(values, [G, R / G]);
    const centred = tf.sub(x, tf.mean(x, 1, true));
    const std = tf.sqrt(tf.div(tf.sum(tf.square(centred), 1, true), R / G - 1));
    return { advantage: tf.div(centred, tf.add(std, 1e-4)) };
  });

  return {
    name: "tfjs-wasm (1 thread)",
    tasks: {
      "log-prob forward": task(({ logits, targets }) => ({ logProb: logProb(logits, targets) })),
      "matmul square": task(({ a, b }) => ({ product: tf.matMul(a, b) })),
      "group-norm": groupNorm,
      "group-norm small": groupNorm,
      "rms-norm forward": task(({ x, weight }) => {
        const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(x), 1, true), 1e-6));
        return { y: tf.mul(tf.mul(x, inverse), weight) };
      }),
    },
  };
}

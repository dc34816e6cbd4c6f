// jax-js on its WebAssembly backend, the only one of it that runs under Node; jit where it compiles.
export async function open() {
  const jax = await import("@jax-js/jax");
  await jax.init("wasm");
  jax.defaultDevice("wasm");
  const { numpy: np, nn, jit } = jax;

  /** A task from named arrays to named results. jax-js counts references: a function uses up its arguments. */
  const task = (names, compute) => (arrays, sizes) => {
    const tensors = names.map((name) => np.array(arrays[name].data).reshape(arrays[name].shape));
    const run = jit((...given) => compute(...given, sizes));
    const once = () => run(...tensors.map((x) => x.ref));
    return {
      call: async () => {
        const out = once();
        await out.blockUntilReady();
        out.dispose();
      },
      values: async () => ({ [compute.output]: await once().data() }),
      release: () => {
        for (const x of tensors) x.dispose();
      },
    };
  };
  const named = (output, compute) => Object.assign(compute, { output });
  const logProb = (logits, targets) => {
    const chosen = np.takeAlongAxis(logits.ref, targets.reshape([-1, 1]), 1).reshape([-1]);
    return chosen.sub(nn.logsumexp(logits, 1));
  };

  return {
    name: "jax-js (wasm)",
    tasks: {
      "log-prob forward": task(["logits", "targets"], named("logProb", logProb)),
      "linear-log-prob forward": task(
        ["hidden", "weight", "targets"],
        named("logProb", (hidden, weight, targets) => {
          return logProb(np.matmul(hidden, weight.transpose()), targets);
        }),
      ),
      "matmul square": task(
        ["a", "b"],
        named("product", (a, b) => np.matmul(a, b)),
      ),
      "rms-norm forward": task(
        ["x", "weight"],
        named("y", (x, weight) => {
          const mean = np.mean(np.square(x.ref), 1, { keepdims: true });
          return x.div(np.sqrt(mean.add(1e-6))).mul(weight);
        }),
      ),
    },
  };
}

// What the kernels are held to, as data: the text, the bound, and how it is read off a run.

const find = (results, kernel, dtype = "f32", shape) =>
  results?.find(
    (r) => r.kernel === kernel && r.dtype === dtype && (!shape || r.shape.join() === shape.join()),
  );

const share = (kernel, dtype, ceiling) => (run) => {
  const r = find(run.results, kernel, dtype);
  const pace = ceiling === "readGbPerS" ? r?.readPace : 1;
  return r && r.gbPerS / (run.ceilings[ceiling] * pace);
};

/** How fast the faster of the BLAS peers is, over how fast firesteel is, at one product. */
const ofBlas = (size, single) => (run) => {
  const results = single ? run.single?.results : run.results;
  const r = find(results, "matmul square", "f32", [size, size, size]);
  const ratios = Object.entries(r?.peers ?? {})
    .filter(([name, { ratio }]) => /^(numpy|PyTorch)/.test(name) && ratio !== null)
    .map(([, { ratio }]) => ratio);
  return ratios.length === 0 ? undefined : Math.min(...ratios);
};

const ofHead = (variant, dtype) => (run) => {
  const [own, head] = [
    find(run.results, `linear-log-prob ${variant}`, dtype),
    find(run.results, "matmul head"),
  ];
  // Both at their fastest fifth: they are not timed at the same moment.
  return own && head && (own.flops / own.p20Ms) * (head.p20Ms / head.flops);
};

const micros = (kernel) => (run) => {
  const r = find(run.results, kernel);
  return r && 1000 * r.medianMs;
};

const times = (slow, fast, dtype) => (run) => {
  const [a, b] = [find(run.results, slow, dtype), find(run.results, fast, dtype)];
  return a && b && a.medianMs / b.medianMs;
};

const least = (text, bound, unit, of) => ({
  text,
  bound,
  unit,
  of,
  met: (value) => value >= bound,
});
const most = (text, bound, unit, of) => ({ text, bound, unit, of, met: (value) => value <= bound });

export const cpuTargets = [
  least(
    "log-prob forward f32, of the read bandwidth",
    0.8,
    "x",
    share("log-prob forward", "f32", "readGbPerS"),
  ),
  least(
    "log-prob forward bf16, of the read bandwidth",
    0.5,
    "x",
    share("log-prob forward", "bf16", "readGbPerS"),
  ),
  least(
    "log-prob forward f16, of the read bandwidth",
    0.5,
    "x",
    share("log-prob forward", "f16", "readGbPerS"),
  ),
  most(
    "entropy beside it, times the forward pass alone",
    1.1,
    "x",
    times("log-prob forward and entropy", "log-prob forward"),
  ),
  least(
    "log-prob backward in place f32, of the in-place scale bandwidth",
    0.75,
    "x",
    share("log-prob backward in place", "f32", "updateGbPerS"),
  ),
  least(
    "log-prob forward f32 with AVX2, of the read bandwidth",
    0.45,
    "x",
    (run) => run.avx2?.ofPeak,
  ),
  least(
    "fused token loss in place f32, times faster than its three calls",
    1.4,
    "x",
    (run) => run.fused?.f32.inPlace,
  ),
  least("the same into other memory", 1.4, "x", (run) => run.fused?.f32.elsewhere),
  least(
    "fused token loss in place bf16, times faster than its three calls",
    1.4,
    "x",
    (run) => run.fused?.bf16.inPlace,
  ),
  least("matmul 512, all threads, of the best BLAS", 0.85, "x", ofBlas(512, false)),
  least("matmul 1024, all threads, of the best BLAS", 0.85, "x", ofBlas(1024, false)),
  least("matmul 512, 1 thread, of the best BLAS", 0.85, "x", ofBlas(512, true)),
  least("matmul 1024, 1 thread, of the best BLAS", 0.85, "x", ofBlas(1024, true)),
  least(
    "linear-log-prob forward f32, of the product's rate alone",
    0.85,
    "x",
    ofHead("forward", "f32"),
  ),
  least(
    "linear-log-prob forward bf16, of the product's rate alone",
    0.85,
    "x",
    ofHead("forward", "bf16"),
  ),
  least(
    "linear-log-prob forward and backward f32, of the same",
    0.8,
    "x",
    ofHead("forward and backward", "f32"),
  ),
  least(
    "linear-log-prob forward and backward bf16, of the same",
    0.8,
    "x",
    ofHead("forward and backward", "bf16"),
  ),
  most(
    "linear-log-prob forward at [1024, 896] x [151936, 896], extra memory",
    64,
    "MiB",
    (run) => run.linearExtraMiB,
  ),
  least(
    "group-norm of 1M values, of the read bandwidth",
    0.5,
    "x",
    share("group-norm", "f32", "readGbPerS"),
  ),
  least(
    "surrogate of 1M tokens, of the read bandwidth",
    0.5,
    "x",
    share("surrogate", "f32", "readGbPerS"),
  ),
  most("group-norm of 64 x 16, with the call", 10, "us", micros("group-norm small")),
  most("surrogate of 64 x 16, with the call", 10, "us", micros("surrogate small")),
  most("a call without outputs", 2, "us", (run) => 1000 * run.ceilings.callMs),
];

export const cudaTargets = [
  least(
    "log-prob forward bf16, of the copy bandwidth",
    0.9,
    "x",
    share("log-prob forward", "bf16", "scaleGbPerS"),
  ),
  least("linear-log-prob forward and backward bf16, TFLOP/s", 650, "", (run) => {
    const r = find(run.results, "linear-log-prob forward and backward", "bf16");
    return r && r.gflopPerS / 1000;
  }),
  least(
    "fused token loss in place bf16, times faster than its three calls",
    1.4,
    "x",
    (run) => run.fused?.bf16.inPlace,
  ),
];

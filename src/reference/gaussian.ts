/** Rows of `width` elements with one Gaussian each. */
export interface GaussianRows {
  /** What was drawn; for a KL the mean of the reference. */
  value: ArrayLike<number>;
  mean: ArrayLike<number>;
  /** One a row. */
  std: ArrayLike<number>;
  /** 0 = the element is left out. */
  mask?: ArrayLike<number> | null;
  width: number;
}

export type GaussianQuantity = "log-prob" | "kl" | "squared-error";

/** One element's share, and its derivative with respect to the mean. */
function element(quantity: GaussianQuantity, value: number, mean: number, std: number) {
  const z = (value - mean) / std;
  switch (quantity) {
    case "log-prob":
      return { term: -0.5 * z * z - Math.log(std * Math.sqrt(2 * Math.PI)), slope: z / std };
    case "kl":
      return { term: 0.5 * z * z, slope: -z / std };
    case "squared-error":
      return { term: -((value - mean) ** 2), slope: 2 * (value - mean) };
  }
}

/** Mean or sum over the valid elements of every row; 0 where there are none. */
export function gaussian(
  rows: GaussianRows,
  quantity: GaussianQuantity,
  reduction: "mean" | "sum" = "mean",
): Float64Array {
  const out = new Float64Array(rows.std.length);
  for (let b = 0; b < out.length; ++b) {
    let sum = 0;
    let count = 0;
    for (let i = b * rows.width; i < (b + 1) * rows.width; ++i) {
      if (rows.mask?.[i] === 0) continue;
      sum += element(quantity, rows.value[i]!, rows.mean[i]!, rows.std[b]!).term;
      ++count;
    }
    out[b] = reduction === "sum" || count === 0 ? sum : sum / count;
  }
  return out;
}

/** d (sum_b dOut[b] out[b]) / d mean, zeros at masked elements. */
export function gaussianGradient(
  rows: GaussianRows,
  dOut: ArrayLike<number>,
  quantity: GaussianQuantity,
  reduction: "mean" | "sum" = "mean",
): Float64Array {
  const out = new Float64Array(rows.mean.length);
  for (let b = 0; b < rows.std.length; ++b) {
    const elements = Array.from({ length: rows.width }, (_, d) => b * rows.width + d);
    const valid = elements.filter((i) => rows.mask?.[i] !== 0);
    const weight = reduction === "sum" ? 1 : 1 / valid.length;
    for (const i of valid) {
      const { slope } = element(quantity, rows.value[i]!, rows.mean[i]!, rows.std[b]!);
      out[i] = dOut[b]! * weight * slope;
    }
  }
  return out;
}

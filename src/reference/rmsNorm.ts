/** y = x / sqrt(mean(x^2) + eps) * weight, per row (Zhang & Sennrich 2019, eq. 4). */
export function rmsNorm(
  x: ArrayLike<number>,
  weight: ArrayLike<number>,
  eps: number,
): { y: Float64Array; inverse: Float64Array } {
  const width = weight.length;
  const rows = x.length / width;
  const y = new Float64Array(x.length);
  const inverse = new Float64Array(rows);
  for (let r = 0; r < rows; ++r) {
    let squares = 0;
    for (let j = 0; j < width; ++j) squares += x[r * width + j]! ** 2;
    inverse[r] = 1 / Math.sqrt(squares / width + eps);
    for (let j = 0; j < width; ++j) y[r * width + j] = x[r * width + j]! * inverse[r]! * weight[j]!;
  }
  return { y, inverse };
}

/** With n = x / rms: d x = (g - n mean(g n)) / rms where g = d y * weight; d weight = sum d y * n. */
export function rmsNormGradient(
  x: ArrayLike<number>,
  weight: ArrayLike<number>,
  eps: number,
  dY: ArrayLike<number>,
): { dX: Float64Array; dWeight: Float64Array } {
  const width = weight.length;
  const { inverse } = rmsNorm(x, weight, eps);
  const dX = new Float64Array(x.length);
  const dWeight = new Float64Array(width);
  for (let r = 0; r < inverse.length; ++r) {
    let dot = 0;
    for (let j = 0; j < width; ++j) {
      const n = x[r * width + j]! * inverse[r]!;
      dot += dY[r * width + j]! * weight[j]! * n;
      dWeight[j] = dWeight[j]! + dY[r * width + j]! * n;
    }
    for (let j = 0; j < width; ++j) {
      const n = x[r * width + j]! * inverse[r]!;
      dX[r * width + j] = (dY[r * width + j]! * weight[j]! - (n * dot) / width) * inverse[r]!;
    }
  }
  return { dX, dWeight };
}

/**
 * d f / d x by central differences. With float64 values of order 1 a step of 1e-5 leaves a relative
 * error of about 1e-10 from curvature and 1e-11 from rounding.
 *
 * @param f must not keep the array that it is given
 */
export function finiteDifference(
  f: (x: Float64Array) => number,
  x: ArrayLike<number>,
  step = 1e-5,
): Float64Array {
  const at = Float64Array.from(x);
  const gradient = new Float64Array(at.length);
  for (let i = 0; i < at.length; ++i) {
    const middle = at[i]!;
    at[i] = middle + step;
    const above = f(at);
    at[i] = middle - step;
    gradient[i] = (above - f(at)) / (2 * step);
    at[i] = middle;
  }
  return gradient;
}

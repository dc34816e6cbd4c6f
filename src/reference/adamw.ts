export interface AdamWSetting {
  lr: number;
  beta1: number;
  beta2: number;
  eps: number;
  weightDecay: number;
  /** Which step this is, from 1: for the bias corrections. */
  step: number;
  /** Gradients are scaled by min(1, maxGradNorm / (norm + 1e-6)); without it they are taken as they are. */
  maxGradNorm?: number;
}

export interface AdamWState {
  param: Float64Array;
  m: Float64Array;
  v: Float64Array;
}

export function sumSquares(x: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < x.length; ++i) sum += x[i]! ** 2;
  return sum;
}

/** Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2), one step. */
export function adamw(
  state: { param: ArrayLike<number>; m: ArrayLike<number>; v: ArrayLike<number> },
  grad: ArrayLike<number>,
  setting: AdamWSetting,
  gradNorm = Math.sqrt(sumSquares(grad)),
): AdamWState {
  const { lr, beta1, beta2, eps, weightDecay, step, maxGradNorm } = setting;
  const next = {
    param: Float64Array.from(state.param),
    m: Float64Array.from(state.m),
    v: Float64Array.from(state.v),
  };
  if (maxGradNorm !== undefined && !Number.isFinite(gradNorm)) return next;
  const clip = maxGradNorm === undefined ? 1 : Math.min(1, maxGradNorm / (gradNorm + 1e-6));
  for (let i = 0; i < grad.length; ++i) {
    const g = grad[i]! * clip;
    next.m[i] = beta1 * state.m[i]! + (1 - beta1) * g;
    next.v[i] = beta2 * state.v[i]! + (1 - beta2) * g * g;
    const mHat = next.m[i]! / (1 - beta1 ** step);
    const vHat = next.v[i]! / (1 - beta2 ** step);
    next.param[i] =
      state.param[i]! - lr * (mHat / (Math.sqrt(vHat) + eps) + weightDecay * state.param[i]!);
  }
  return next;
}

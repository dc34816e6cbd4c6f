/**
 * The clipped value loss of one action: max((V - R)^2, (clip(V, V_old -+ epsilon) - R)^2) / 2 (PPO,
 * Schulman et al. 2017, as in its released code). Where the clipped arm is the greater, the
 * gradient is 0.
 *
 * @param value V under the current weights
 * @param oldValue V when the step started
 * @param target the return
 * @param epsilon > 0, default 0.2
 */
export function clippedValueLoss(
  value: number,
  oldValue: number,
  target: number,
  epsilon = 0.2,
): { loss: number; gradient: number } {
  const clipped = Math.min(Math.max(value, oldValue - epsilon), oldValue + epsilon);
  const [plain, held] = [(value - target) ** 2, (clipped - target) ** 2];
  return held > plain
    ? { loss: held / 2, gradient: 0 }
    : { loss: plain / 2, gradient: value - target };
}

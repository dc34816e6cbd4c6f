export interface FlowSetting {
  kind: "sde" | "constant-sde" | "cps";
  noiseLevel: number;
  /** Stands for sigma in the denominator of the diffusion where sigma is 1. */
  sigmaMax?: number | undefined;
}

/** One element of a latent, the velocity predicted there, and the noise levels of the step. */
export interface FlowPoint {
  x: number;
  v: number;
  sigma: number;
  sigmaNext: number;
}

/** The diffusion coefficient of an SDE step. */
export function flowDiffusion(sigma: number, { kind, noiseLevel, sigmaMax }: FlowSetting): number {
  if (kind === "constant-sde") return noiseLevel;
  const below = sigma === 1 ? sigmaMax! : sigma;
  return noiseLevel * Math.sqrt(sigma / (1 - below));
}

/** Standard deviation of a step. */
export function flowStd(sigma: number, sigmaNext: number, setting: FlowSetting): number {
  if (setting.kind === "cps") return sigmaNext * Math.sin((setting.noiseLevel * Math.PI) / 2);
  if (setting.noiseLevel === 0) return 0;
  return flowDiffusion(sigma, setting) * Math.sqrt(sigma - sigmaNext);
}

/** Mean of a step. Flow-GRPO (arXiv 2505.05470), DanceGRPO (2505.07818), Flow-CPS (2509.05952). */
export function flowMean({ x, v, sigma, sigmaNext }: FlowPoint, setting: FlowSetting): number {
  const dt = sigmaNext - sigma;
  const [clean, noise] = [x - sigma * v, x + (1 - sigma) * v];
  if (setting.kind === "cps") {
    const std = flowStd(sigma, sigmaNext, setting);
    return (1 - sigmaNext) * clean + Math.sqrt(sigmaNext ** 2 - std ** 2) * noise;
  }
  if (setting.noiseLevel === 0) return x + v * dt;
  const s = flowDiffusion(sigma, setting);
  if (setting.kind === "constant-sde") {
    const score = -(x - (1 - sigma) * clean) / sigma ** 2;
    return x + v * dt - 0.5 * s ** 2 * score * dt;
  }
  return (
    x * (1 + (s ** 2 / (2 * sigma)) * dt) + v * (1 + (s ** 2 * (1 - sigma)) / (2 * sigma)) * dt
  );
}

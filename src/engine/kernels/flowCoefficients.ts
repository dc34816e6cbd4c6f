import { checkChoice, checkKeys, checkNumber, invalid } from "../checks.js";
import { isTypedArray } from "../dtype.js";
import { FiresteelError } from "../error.js";
import { type FlowKind, flowKinds, MAX_STD, MIN_STD } from "./gaussianTable.js";

/** One value for all samples, or one each. */
export type PerSample = number | readonly number[] | Float64Array | Float32Array;

/** Noise levels of a step. Time runs from 1 (noise) to 0 (data). */
export interface FlowSchedule {
  /** Where the step begins, in (0, 1]. */
  sigma: PerSample;
  /** Where it ends, in [0, sigma). */
  sigmaNext: PerSample;
}

/** How much noise a step adds; `Level` is number, or PerSample where samples may differ. */
export interface FlowNoise<Level = number> {
  /** "sde" (Flow-GRPO), "constant-sde" (DanceGRPO) or "cps" (Flow-CPS). */
  kind: FlowKind;
  /** a >= 0, for "cps" at most 1; 0 makes the step deterministic (the ODE's Euler step). */
  noiseLevel: Level;
  /**
   * For "sde": stands for sigma in the denominator of the diffusion where sigma is 1; in [0, 1).
   * Flow-GRPO takes the second value of the schedule.
   */
  sigmaMax?: Level | undefined;
}

/** By sample: mean = x * latent + v * velocity, next = mean + std * noise. */
export interface FlowCoefficients {
  x: number[];
  v: number[];
  /** Standard deviation of the step: diffusion * sqrt(-dt), for "cps" sigmaNext sin(a pi / 2). */
  std: number[];
  /**
   * Without the factor sqrt(-dt): what Flow-GRPO's KL divides by (gaussianKl's `std`). For "cps" it
   * is `std`.
   */
  diffusion: number[];
}

/**
 * The coefficients of flow steps, in float64. With dt = sigmaNext - sigma:
 *
 * - "sde", "constant-sde": s = a sqrt(sigma / (1 - sigma)), or s = a; mean = latent (1 + s^2 dt /
 *   (2 sigma)) + velocity (1 + s^2 (1 - sigma) / (2 sigma)) dt (Flow-GRPO, arXiv 2505.05470;
 *   DanceGRPO, arXiv 2505.07818).
 * - "cps": x0 = latent - sigma velocity, x1 = latent + (1 - sigma) velocity, std = sigmaNext sin(a pi
 *   / 2), mean = (1 - sigmaNext) x0 + sqrt(sigmaNext^2 - std^2) x1 (Flow-CPS, arXiv 2509.05952).
 *
 * @example
 * // All steps of a schedule: their std is what TempFlow-GRPO weights by.
 * const noise = { kind: "sde", noiseLevel: 0.7, sigmaMax: sigmas[1] };
 * const { std } = flowCoefficients({ sigma: sigmas.slice(0, -1), sigmaNext: sigmas.slice(1) }, noise);
 *
 * @returns arrays as long as those given are, or of one element where all are numbers
 * @throws FiresteelError ERR_RANGE (outside of the ranges above, a std that is neither 0 nor in
 * [1e-15, 1e15]), ERR_SHAPE, ERR_DTYPE, ERR_OPTION
 */
export function flowCoefficients(
  schedule: FlowSchedule,
  noise: FlowNoise<PerSample>,
): FlowCoefficients {
  checkKeys("schedule", schedule, ["sigma", "sigmaNext"]);
  checkKeys("noise", noise, ["kind", "noiseLevel", "sigmaMax"]);
  const kind = checkChoice("kind", noise.kind, Object.keys(flowKinds) as FlowKind[]);
  const most = kind === "cps" ? 1 : Number.MAX_VALUE;
  const sigmas = list("sigma", schedule.sigma);
  const nexts = list("sigmaNext", schedule.sigmaNext);
  const levels = list("noiseLevel", noise.noiseLevel, "ERR_RANGE");
  if (noise.sigmaMax !== undefined && kind !== "sde") {
    throw invalid("ERR_OPTION", "sigmaMax", `nothing (kind is "${kind}")`, noise.sigmaMax);
  }
  const substitutes = list("sigmaMax", noise.sigmaMax ?? 0, "ERR_RANGE");
  const { length, name: longest } = firstOf(sigmas, nexts, levels, substitutes);
  for (const { length: own, name } of [nexts, levels, substitutes]) {
    if (own === null || own === length) continue;
    throw invalid("ERR_SHAPE", name, `${length} values, as ${longest} has,`, own);
  }
  const out: FlowCoefficients = { x: [], v: [], std: [], diffusion: [] };
  for (let b = 0; b < length; ++b) {
    const sigma = checkNumber(sigmas.nameAt(b), sigmas.at(b), 0, 1, true);
    const next = checkNumber(nexts.nameAt(b), nexts.at(b), 0, 1);
    if (next >= sigma) {
      throw invalid("ERR_RANGE", nexts.nameAt(b), `a number below sigma, ${sigma},`, next);
    }
    const noiseLevel = checkNumber(levels.nameAt(b), levels.at(b), 0, most);
    const sigmaMax = checkSigmaMax(substitutes.nameAt(b), substitutes.at(b));
    if (kind === "sde" && sigma === 1 && noiseLevel > 0 && noise.sigmaMax === undefined) {
      const expected = `a number in [0, 1) (${sigmas.nameAt(b)} is 1)`;
      throw invalid("ERR_OPTION", "sigmaMax", expected, noise.sigmaMax);
    }
    const step = coefficientsOf(kind, noiseLevel, sigma, next, sigmaMax);
    if (step.std !== 0 && !(step.std >= MIN_STD && step.std <= MAX_STD)) {
      throw new FiresteelError(
        "ERR_RANGE",
        `Expected a noiseLevel that gives a std of 0 or in [${MIN_STD}, ${MAX_STD}] from sigma ` +
          `${sigma} to ${next} but received ${noiseLevel}, which gives ${step.std}`,
      );
    }
    out.x.push(step.x);
    out.v.push(step.v);
    out.std.push(step.std);
    out.diffusion.push(step.diffusion);
  }
  return out;
}

function coefficientsOf(
  kind: FlowKind,
  noiseLevel: number,
  sigma: number,
  next: number,
  sigmaMax: number,
) {
  const dt = next - sigma;
  if (kind === "cps") {
    const angle = (noiseLevel * Math.PI) / 2;
    const std = next * Math.sin(angle);
    const kept = next * Math.cos(angle); // sqrt(next^2 - std^2)
    const v = (1 - sigma) * kept - (1 - next) * sigma;
    return { x: 1 - next + kept, v, std, diffusion: std };
  }
  const below = 1 - (sigma === 1 ? sigmaMax : sigma);
  const s = kind === "sde" ? noiseLevel * Math.sqrt(sigma / below) : noiseLevel;
  const drift = (s * s) / (2 * sigma);
  return {
    x: 1 + drift * dt,
    v: (1 + drift * (1 - sigma)) * dt,
    std: s * Math.sqrt(-dt),
    diffusion: s,
  };
}

function checkSigmaMax(name: string, value: unknown): number {
  if (typeof value === "number" && value >= 0 && value < 1) return value;
  throw invalid("ERR_RANGE", name, "a number in [0, 1)", value);
}

type List = ReturnType<typeof list>;

/** Values by sample; `length` is null where one stands for all. */
function list(name: string, value: unknown, code: "ERR_DTYPE" | "ERR_RANGE" = "ERR_DTYPE") {
  if (typeof value === "number") {
    return { name, length: null, nameAt: () => name, at: (): unknown => value };
  }
  if (!Array.isArray(value) && !isTypedArray(value)) {
    throw invalid(code, name, "a number or an array of numbers", value);
  }
  return {
    name,
    length: value.length,
    nameAt: (b: number) => `${name}[${b}]`,
    at: (b: number): unknown => value[b],
  };
}

/** The first that has a value by sample says how many samples there are. */
function firstOf(...lists: readonly List[]): { length: number; name: string } {
  const found = lists.find(({ length }) => length !== null);
  return { length: found?.length ?? 1, name: found?.name ?? "" };
}

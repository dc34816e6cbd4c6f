import type { Bench } from "../bench/kernel.js";
import { kernelBenches } from "../bench/registry.js";
import { trainingStep } from "./trainingStep.js";

/** All that `firesteel bench` can time. */
export const benches: readonly Bench[] = [...kernelBenches, trainingStep];

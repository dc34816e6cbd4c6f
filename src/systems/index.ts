import type { System } from "../contract/system.js";
import danceGrpo from "./base/danceGrpo.js";
import flowGrpo from "./base/flowGrpo.js";
import grpo from "./base/grpo.js";
import mcGrpo from "./language/mcGrpo.js";

/** Every system that comes with firesteel, by id. */
export const systems: Readonly<Record<string, System>> = Object.freeze(
  Object.fromEntries([grpo, flowGrpo, danceGrpo, mcGrpo].map((system) => [system.id, system])),
);

import type { System } from "../contract/system.js";
import grpo from "./base/grpo.js";
import mcGrpo from "./language/mcGrpo.js";
import { sparkSystem } from "./language/sparkSystem.js";

/** Every system that comes with firesteel, by id. */
export const systems: Readonly<Record<string, System>> = Object.freeze(
  Object.fromEntries(
    [
      grpo,
      mcGrpo,
      sparkSystem(),
      sparkSystem({ balanced: true }),
      sparkSystem({ ablation: "policy-only" }),
      sparkSystem({ ablation: "reward-only" }),
      sparkSystem({ ablation: "static-judge" }),
    ].map((system) => [system.id, system]),
  ),
);

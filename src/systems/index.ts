import type { System } from "../contract/system.js";
import danceGrpo from "./base/danceGrpo.js";
import dpo from "./base/dpo.js";
import flowGrpo from "./base/flowGrpo.js";
import grpo from "./base/grpo.js";
import ipo from "./base/ipo.js";
import opd from "./base/opd.js";
import opdTopK from "./base/opdTopK.js";
import ppo from "./base/ppo.js";
import sft from "./base/sft.js";
import mcGrpo from "./language/mcGrpo.js";

/** Every system that comes with firesteel, by id. */
export const systems: Readonly<Record<string, System>> = Object.freeze(
  Object.fromEntries(
    [grpo, ppo, dpo, ipo, opd, opdTopK, sft, flowGrpo, danceGrpo, mcGrpo].map((system) => [
      system.id,
      system,
    ]),
  ),
);

import type { System } from "../contract/system.js";

import cispo from "./base/cispo.js";
import danceGrpo from "./base/danceGrpo.js";
import dapo from "./base/dapo.js";
import dpo from "./base/dpo.js";
import dppoTv from "./base/dppoTv.js";
import drGrpo from "./base/drGrpo.js";
import flowGrpo from "./base/flowGrpo.js";
import gmpo from "./base/gmpo.js";
import gpg from "./base/gpg.js";
import grpo from "./base/grpo.js";
import gspo from "./base/gspo.js";
import gspoToken from "./base/gspoToken.js";
import ipo from "./base/ipo.js";
import luspo from "./base/luspo.js";
import opd from "./base/opd.js";
import opdTopK from "./base/opdTopK.js";
import ppo from "./base/ppo.js";
import reinforcePp from "./base/reinforcePp.js";
import reinforcePpBaseline from "./base/reinforcePpBaseline.js";
import rloo from "./base/rloo.js";
import sapo from "./base/sapo.js";
import sft from "./base/sft.js";
import vespo from "./base/vespo.js";

import mcGrpo from "./language/mcGrpo.js";
import { sparkSystem } from "./language/sparkSystem.js";

/** The algorithms that the others build on. */
const base = [
  ...[grpo, drGrpo, rloo, reinforcePp, reinforcePpBaseline, dapo],
  ...[gspo, gspoToken, cispo, sapo, gmpo, luspo, dppoTv, vespo, gpg],
  ...[ppo, dpo, ipo, opd, opdTopK, sft, flowGrpo, danceGrpo],
];

/** SPARK as published, its variant for small models, and what it is held against. */
const spark = [
  sparkSystem(),
  sparkSystem({ balanced: true }),
  sparkSystem({ ablation: "policy-only" }),
  sparkSystem({ ablation: "reward-only" }),
  sparkSystem({ ablation: "static-judge" }),
];

/** Every system that comes with firesteel, by id. */
export const systems: Readonly<Record<string, System>> = Object.freeze(
  Object.fromEntries([...base, mcGrpo, ...spark].map((system) => [system.id, system])),
);

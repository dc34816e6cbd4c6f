import type { Claim } from "../claim.js";
import { dapo } from "./dapo.js";

/** Every claim that `firesteel replicate` can put to the test, by id. */
export const claims: Readonly<Record<string, Claim>> = Object.freeze(
  Object.fromEntries([dapo].map((claim) => [claim.id, claim])),
);

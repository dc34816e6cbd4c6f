import type { Claim } from "../claim.js";
import { dapo } from "./dapo.js";
import { spark } from "./spark.js";

/** Every claim that `firesteel replicate` can put to the test, by id. */
export const claims: Readonly<Record<string, Claim>> = Object.freeze(
  Object.fromEntries([spark, dapo].map((claim) => [claim.id, claim])),
);

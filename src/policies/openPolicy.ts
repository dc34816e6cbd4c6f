import { anEngine, anObject, aPath, checkArguments } from "../engine/arguments.js";
import { invalid } from "../engine/checks.js";
import type { Engine } from "../engine/engine.js";
import { FiresteelError } from "../engine/error.js";
import { flowModelType, modelTypeOf } from "./flow/config.js";
import { FlowPolicy } from "./flow/flowPolicy.js";
import { policyPaths, readText } from "./policyFiles.js";
import type { PolicyDType } from "./token/config.js";
import { TokenPolicy } from "./token/tokenPolicy.js";

/**
 * The policy in a folder, of whatever kind its config.json says.
 *
 * @param options.dtype of a token policy's weights here; default as the folder says
 * @throws FiresteelError ERR_CHECKPOINT, ERR_OPTION
 */
export async function openPolicy(
  engine: Engine,
  directory: string,
  options: { dtype?: PolicyDType } = {},
): Promise<TokenPolicy | FlowPolicy> {
  checkArguments(
    { engine, directory, options },
    { engine: anEngine, directory: aPath, options: anObject },
  );
  const path = policyPaths(directory).config;
  const text = await readText(path);
  if (text === null || modelTypeOf(text, path) !== flowModelType) {
    return TokenPolicy.open(engine, directory, options);
  }
  checkFlowDType(options.dtype);
  return FlowPolicy.open(engine, directory);
}

/**
 * The token policy in a folder.
 *
 * @throws FiresteelError ERR_CHECKPOINT, ERR_OPTION where it acts in something else
 */
export async function openTokenPolicy(engine: Engine, directory: string): Promise<TokenPolicy> {
  const policy = await openPolicy(engine, directory);
  if (policy.kind === "tokens") return policy;
  policy.dispose();
  const message = `Expected a policy over tokens in ${directory} but it acts in ${policy.kind}`;
  throw new FiresteelError("ERR_OPTION", message);
}

/**
 * Clip ranges of flow policies are about 1e-5: 16 bits cannot hold their ratios.
 *
 * @throws FiresteelError ERR_OPTION
 */
export function checkFlowDType(dtype: PolicyDType | undefined): void {
  if (dtype === undefined || dtype === "f32") return;
  throw invalid("ERR_OPTION", "dtype", '"f32" (a flow policy has no other)', dtype);
}

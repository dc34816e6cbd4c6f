import type { Capability, Policy, SampleRequest, Sampler, Trajectory } from "../contract/index.js";
import { anInteger, checkArguments } from "../engine/arguments.js";
import { aPolicy } from "../engine/contractKinds.js";

/** Rollouts from a policy of this process: exact log-probs, current weights, named streams. */
export class EmbeddedSampler implements Sampler {
  readonly name = "embedded";
  readonly capabilities: ReadonlySet<Capability>;
  readonly #policy: Policy;
  #version = 0;

  constructor(policy: Policy) {
    checkArguments({ policy }, { policy: aPolicy });
    this.#policy = policy;
    this.capabilities = new Set<Capability>([
      ...(["logProbs", "exactLogProbs", "streams", "greedy", "currentWeights"] as const),
      policy.kind === "flow" ? "flow" : "stop",
    ]);
  }

  /** @throws FiresteelError as the policy's `sample` */
  async sample(request: SampleRequest): Promise<Trajectory[]> {
    const policyVersion = this.#version;
    const trajectories = await this.#policy.sample(request);
    return trajectories.map((trajectory) => ({ ...trajectory, policyVersion }));
  }

  /** The policy's weights are always current: only the version that rollouts carry changes. */
  async refresh(version: number): Promise<void> {
    checkArguments({ version }, { version: anInteger(0, Number.MAX_SAFE_INTEGER) });
    this.#version = version;
  }
}

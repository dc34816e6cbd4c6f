/** Questions, trajectories and groups, as samplers make them and blocks read them. */
import { some } from "./kernels.mjs";

export const question = (id = "q") => ({
  id,
  messages: [{ role: "user", content: "0202=" }],
  label: "2",
  columns: { level: 1 },
});

export const prompt = (id = "q") => ({ ...question(id), tokens: Int32Array.of(1, 2) });

export function flowActions() {
  return {
    kind: "flow",
    length: 2,
    width: 2,
    states: Float32Array.of(0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
    sigmas: Float32Array.of(1, 0.5, 0),
    noise: "sde",
    noiseLevels: Float32Array.of(0.7, 0.7),
  };
}

export function trajectory(world, reward = 1, id = 0) {
  return {
    id,
    prompt: prompt(),
    actions: { kind: "tokens", length: 2, ids: Int32Array.of(3, 4) },
    mask: Uint8Array.of(1, 1),
    columns: {
      advantage: world.pick([
        { level: "row", value: 0.5 },
        { level: "action", values: Float32Array.of(0.5, 1) },
      ]),
      ...some(world, { tokenReward: { level: "action", values: Float32Array.of(0, 1) } }),
    },
    keys: {},
    rewards: { correct: reward },
    reward,
    text: "2",
    finish: "stop",
    policyVersion: 0,
    info: {},
  };
}

export function group(world, key = "g") {
  return {
    key,
    prompt: prompt(),
    trajectories: [trajectory(world, 1, 0), trajectory(world, world.pick([0, 1, null]), 1)],
  };
}

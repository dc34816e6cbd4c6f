import type { RecordedRollout } from "./rollout.js";

/** Of the rollouts in a page, so that one can be mailed. */
const maxEmbeddedBytes = 512 * 1024;

/** Rollouts of one prompt; what they share is said once. */
export interface EmbeddedGroup
  extends Pick<RecordedRollout, "step" | "phase" | "kind" | "group" | "prompt" | "label"> {
  rollouts: EmbeddedRollout[];
}

/** Columns with one value throughout are that value. */
export interface EmbeddedRollout
  extends Pick<RecordedRollout, "tokens" | "rewards" | "reward" | "right" | "finish" | "cut"> {
  sampledFrom: string | null;
  advantage: Short;
  logProb: Short;
  weight: Short;
  mask: Short;
}

type Short = number | null | readonly (number | null)[];

/**
 * The rollouts that go into a page: those of every recorded step, or of ever fewer, evenly, until they
 * fit. The last recorded step is always among them; of one that alone is too large, its first groups.
 *
 * @param recorded in the order of the file
 */
export function embeddedRollouts(
  recorded: readonly RecordedRollout[],
  maxBytes: number = maxEmbeddedBytes,
): EmbeddedGroup[] {
  const all = groupsByStep(recorded);
  let steps = all;
  for (let every = 2; sizeOf(steps.flat()) > maxBytes && steps.length > 1; every *= 2) {
    steps = all.filter((_, i) => (all.length - 1 - i) % every === 0);
  }
  const groups = steps.flat();
  while (groups.length > 1 && sizeOf(groups) > maxBytes) groups.pop();
  return groups.map(({ group }) => group);
}

interface Sized {
  group: EmbeddedGroup;
  bytes: number;
}

const sizeOf = (groups: readonly Sized[]) => groups.reduce((sum, { bytes }) => sum + bytes, 0);

function groupsByStep(recorded: readonly RecordedRollout[]): Sized[][] {
  const steps = new Map<number, Map<string, EmbeddedGroup>>();
  for (const line of recorded) {
    const { step, phase, kind, group, prompt, label } = line;
    const groups = steps.get(step) ?? new Map<string, EmbeddedGroup>();
    steps.set(step, groups);
    const key = JSON.stringify([phase, group, prompt]);
    const found = groups.get(key) ?? { step, phase, kind, group, prompt, label, rollouts: [] };
    groups.set(key, found);
    found.rollouts.push(embedded(line));
  }
  return [...steps.values()].map((groups) =>
    [...groups.values()].map((group) => {
      return { group, bytes: Buffer.byteLength(JSON.stringify(group)) };
    }),
  );
}

function embedded(line: RecordedRollout): EmbeddedRollout {
  const { tokens, rewards, reward, right, finish, cut, sampledFrom } = line;
  const { advantage, logProb, weight, mask } = line;
  return {
    ...{ tokens, rewards, reward, right, finish, cut, sampledFrom },
    ...{ advantage: short(advantage), logProb: short(logProb) },
    ...{ weight: short(weight), mask: short(mask) },
  };
}

function short(values: readonly (number | null)[] | null): Short {
  if (values === null) return null;
  const [first = null, ...others] = values;
  return others.every((value) => value === first) ? first : values;
}

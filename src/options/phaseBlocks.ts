import type { Block } from "../contract/block.js";
import type { Phase } from "../contract/system.js";

/** Every part of a phase that holds blocks, in the way of the data. */
export const phaseParts = Object.keys({
  source: true,
  rollout: true,
  probe: true,
  reward: true,
  filter: true,
  advantage: true,
  credit: true,
  rows: true,
  select: true,
  weight: true,
  loss: true,
  observe: true,
} satisfies Record<Exclude<keyof Phase, "name" | "model" | "update">, true>) as (keyof Phase)[];

/** Every block of a phase, in the way of the data. */
export function phaseBlocks(phase: Phase): { at: string; block: Block }[] {
  return phaseParts.flatMap((at) => {
    const value = phase[at] as Block | readonly Block[] | null;
    const blocks = value === null ? [] : Array.isArray(value) ? value : [value];
    return blocks.map((block: Block) => ({ at, block }));
  });
}

/** Later checkpoints of a run have the higher rank; null: an entry of its folder that is none. */
export function checkpointRank(entry: string): number | null {
  const match = /^(warm-start|checkpoint)-(\d+)$/.exec(entry);
  return match === null ? null : Number(match[2]) + (match[1] === "checkpoint" ? 2 ** 40 : 0);
}

/** The checkpoints among a folder's entries, the newest last. */
export function checkpointsByAge(entries: readonly string[]): string[] {
  return entries
    .filter((entry) => checkpointRank(entry) !== null)
    .sort((a, b) => checkpointRank(a)! - checkpointRank(b)!);
}

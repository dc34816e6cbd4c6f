import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Campaign } from "./campaign.mjs";
import { traced } from "./faultPoints.mjs";
import { Disk, losses, randomLoss } from "./powerLoss.mjs";
import { below, seeded } from "./seeded.mjs";
import { systems } from "./settings.mjs";

/**
 * The disk as it may be after a loss of power at every file operation of a run: a checkpoint that was
 * announced is there and whole, with the history that led to it. Some of these disks are gone on with.
 *
 * @param every only after each such operation; 1: after all
 * @param random disks at random beside the worst ones
 * @param resumes of how many disks in all the run goes on
 */
export async function powerCuts({ api, short, every, random, resumes, seed, progress }) {
  const failures = [];
  const figures = { operations: 0, disks: 0, "gone on with": 0 };
  const chosen = short ? systems.slice(0, 1) : systems;
  for (const system of chosen) {
    const campaign = new Campaign(api, system, { steps: 3 });
    await campaign.straight();
    const { out, operations, announced } = await traced(campaign);
    const straight = campaign.folder;
    const disk = new Disk(straight);
    const uniform = seeded(seed);
    const states = Math.ceil(operations.length / every) * (Object.keys(losses).length + random);
    for (const operation of operations) {
      disk.apply(operation);
      figures.operations += 1;
      if ((operation.index + seed) % every !== 0) continue;
      progress(`${system}, operation ${operation.index} of ${operations.length}`);
      const told =
        announced.findLast(({ operations: done }) => done <= operation.index + 1)?.step ?? -1;
      const ways = [
        ...Object.entries(losses),
        ...Array.from({ length: random }, (_, i) => [`random ${i}`, randomLoss(uniform)]),
      ];
      for (const [name, { keepName, content }] of ways) {
        const where = `${system}, power lost after operation ${operation.index} (${operation.kind} ${operation.path.slice(straight.length + 1)}), ${name}`;
        const at = join(straight, "disk");
        rmSync(at, { recursive: true, force: true });
        mkdirSync(at);
        disk.writeDown(at, keepName, content);
        figures.disks += 1;
        const found = join(at, out.slice(straight.length + 1));
        const any = await campaign.check(where, found, told);
        if (any && below(uniform, states * chosen.length) < resumes) {
          figures["gone on with"] += 1;
          await campaign.finish(where, found, any);
        }
        if (campaign.failures.length > 20) break;
      }
    }
    failures.push(...campaign.failures);
    campaign.end();
  }
  return { failures, figures };
}

import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Campaign } from "./campaign.mjs";
import { below, seeded } from "./seeded.mjs";

/**
 * Checkpoints, policies and runs as a disk or a hand may have damaged them: refused with the file and what is
 * wrong with it, and with the older checkpoint that is whole.
 *
 * @param rounds of each kind of damage for each file
 */
export async function damages({ api, rounds, seed, progress }) {
  const campaign = new Campaign(api, "spark-balanced", { steps: 3, report: true });
  const run = campaign.fresh("run");
  await campaign.begin(run, { keepBest: false });
  const uniform = seeded(seed);
  const figures = {
    "damaged checkpoints refused": await checkpoints(campaign, run, rounds, uniform, progress),
    "damaged policies refused": await policies(campaign, run, rounds, uniform, progress),
    "reports of damaged runs": await reports(campaign, run, rounds, uniform, progress),
  };
  campaign.end();
  return { failures: campaign.failures, figures };
}

/** Ways to damage the file at a path; `other` is its counterpart in another checkpoint. */
function ways(path, other, uniform) {
  const bytes = readFileSync(path);
  const flipped = () => {
    const copy = Buffer.from(bytes);
    copy[below(uniform, bytes.length)] ^= 1 << below(uniform, 8);
    return copy;
  };
  // A file of its own: checkpoints share those of a model that does not change.
  const aside = (put) => () => {
    rmSync(path);
    put();
  };
  const over = (content) => aside(() => writeFileSync(path, content));
  const all = {
    "cut off": over(bytes.subarray(0, below(uniform, bytes.length))),
    empty: over(""),
    "a bit flipped": over(flipped()),
    "zeros at its end": over(
      Buffer.concat([
        bytes.subarray(0, bytes.length >> 1),
        Buffer.alloc(bytes.length - (bytes.length >> 1)),
      ]),
    ),
    longer: over(Buffer.concat([bytes, Buffer.of(below(uniform, 256))])),
    removed: aside(() => {}),
    "a folder in its place": aside(() => mkdirSync(path)),
    "a link to itself": aside(() => symlinkSync(path, path)),
    "the header's length beyond all bounds": over(
      Buffer.concat([Buffer.from("ffffffffffffff7f", "hex"), bytes.subarray(8)]),
    ),
  };
  if (existsSync(other) && !readFileSync(other).equals(bytes)) {
    all["that of another checkpoint"] = aside(() => copyFileSync(other, path));
  }
  return all;
}

/** Damages a file in every way and gives it back whole. */
async function each(path, other, rounds, uniform, examine) {
  const kept = `${path}.kept`;
  let count = 0;
  for (let round = 0; round < rounds; ++round) {
    for (const [way, damage] of Object.entries(ways(path, other, uniform))) {
      copyFileSync(path, kept);
      damage();
      await examine(way);
      rmSync(path, { recursive: true, force: true });
      renameSync(kept, path);
      count += 1;
    }
  }
  return count;
}

async function checkpoints(campaign, run, rounds, uniform, progress) {
  const [older, newest] = [join(run, "checkpoint-2"), join(run, "checkpoint-3")];
  let count = 0;
  for (const file of filesUnder(newest)) {
    progress(`checkpoint, ${file}`);
    const path = join(newest, file);
    count += await each(path, join(older, file), rounds, uniform, async (way) => {
      const where = `checkpoint-3/${file}, ${way}`;
      // A state.json that is whole, but another's, makes others of the files.
      const at = way === "that of another checkpoint" ? newest : path;
      await refused(campaign, where, () => campaign.resume(run), [at, `${older} is whole`]);
    });
  }
  const state = join(newest, "state.json");
  const text = readFileSync(state, "utf8");
  writeFileSync(state, text.replace('"format":1', '"format":2'));
  const later = [
    state,
    "its format is 2; this version reads 1",
    "later version",
    `${older} is whole`,
  ];
  await refused(campaign, "a later format", () => campaign.resume(run), later);
  writeFileSync(state, text);
  // As the advice says.
  renameSync(newest, `${run}-damaged`);
  const { body } = await campaign.api.readCheckpoint(run);
  if (body.progress.step !== 2)
    campaign.fail("advice", `it goes on from step ${body.progress.step}`);
  renameSync(`${run}-damaged`, newest);
  return count + 1;
}

async function policies(campaign, run, rounds, uniform, progress) {
  const { Engine, FiresteelError, openPolicy, policyFolder } = campaign.api;
  const engine = new Engine({ device: "cpu", threads: 1 });
  const weightsOf = async (path) => {
    const policy = await openPolicy(engine, await policyFolder(path));
    const weights = await Promise.all(policy.parameters.map(({ value }) => value.read()));
    policy.dispose();
    return Buffer.concat(weights.map((values) => Buffer.from(values.buffer)));
  };
  const folder = join(run, "checkpoint-3", "policy");
  const own = campaign.fresh("policy");
  cpSync(folder, own, { recursive: true });
  const whole = await weightsOf(own);
  let count = 0;
  for (const file of filesUnder(folder)) {
    progress(`policy, ${file}`);
    const path = join(folder, file);
    count += await each(path, "", rounds, uniform, (way) =>
      refused(campaign, `policy of a checkpoint, ${file}, ${way}`, () => weightsOf(run), [path]),
    );
  }
  const path = join(own, "model.safetensors");
  const openOwn = async () => {
    const same = whole.equals(await weightsOf(own));
    // A bit of the checksum's own name: every weight is whole.
    if (same) throw new FiresteelError("ERR_CHECKPOINT", path);
  };
  count += await each(path, "", rounds, uniform, (way) =>
    refused(campaign, `policy by itself, ${way}`, openOwn, [path]),
  );
  engine.dispose();
  return count;
}

async function reports(campaign, run, rounds, uniform, progress) {
  let count = 0;
  for (const file of ["metrics.jsonl", "rollouts.jsonl", "run.json", "system.txt"]) {
    progress(`report, ${file}`);
    count += await each(join(run, file), "", rounds, uniform, async (way) => {
      const error = await campaign.api.writeReport(run).then(
        () => null,
        (error) => error,
      );
      if (error === null || error instanceof campaign.api.FiresteelError) return;
      campaign.fail(`report, ${file}, ${way}`, `not ours: ${error.stack}`);
    });
  }
  return count;
}

/** @param parts what the message must say */
async function refused(campaign, where, action, parts) {
  try {
    await action();
    campaign.fail(where, "it was taken for whole");
  } catch (error) {
    const ours = error instanceof campaign.api.FiresteelError && error.code === "ERR_CHECKPOINT";
    if (!ours) campaign.fail(where, `not ERR_CHECKPOINT: ${error.stack}`);
    for (const part of parts) {
      if (!error.message.includes(part)) campaign.fail(where, `${error.message}: without ${part}`);
    }
  }
}

function filesUnder(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
}

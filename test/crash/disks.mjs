import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Campaign } from "./campaign.mjs";
import { beginArgs, start } from "./process.mjs";

/**
 * Disks that are really full or read-only, folders that go away, files in the way, and folders of somebody
 * else: an error of ours with the reason and what to do, nothing torn, and the run goes on once there is room.
 */
export async function disks({ api, short, progress }) {
  const campaign = new Campaign(api, "grpo", { steps: 4 });
  const figures = { "full disks": 0, "read-only disks": 0, "folders in the way or gone": 0 };
  await campaign.straight();
  const skipped = await mounted(campaign, figures, short, progress);
  await inTheWay(campaign, figures);
  if (process.getuid?.() === 0) await ofAnother(campaign, figures);
  campaign.end();
  return { failures: campaign.failures, figures, skipped };
}

async function mounted(campaign, figures, short, progress) {
  const at = join(campaign.folder, "mounted");
  mkdirSync(at);
  const mount = (...options) => execFileSync("mount", [...options, at], { stdio: "pipe" });
  try {
    mount("-t", "tmpfs", "-o", "size=64k", "tmpfs");
  } catch {
    return "full and read-only disks: a tmpfs cannot be mounted here (that needs root)";
  }
  try {
    const out = join(at, "run");
    const whole = await sizeOf(campaign, mount, out);
    const parts = short ? [0.3, 0.8] : Array.from({ length: 24 }, (_, i) => (i + 1) / 25);
    for (const part of parts) {
      const kilobytes = Math.ceil((whole * part) / 1024);
      const where = `a disk of ${kilobytes} KiB`;
      progress(where);
      mount("-o", `remount,size=${kilobytes}k`);
      const [reason, advice] = ["ENOSPC: no space left on device", "make room on the disk"];
      await stopped(campaign, where, () => campaign.begin(out), reason, advice);
      mount("-o", "remount,size=64m");
      await goesOn(campaign, where, out);
      figures["full disks"] += 1;
    }
    for (const step of short ? [2] : [0, 1, 2, 3]) {
      const where = `a disk that is read-only after step ${step}`;
      progress(where);
      const stop = new AbortController();
      const onStep = (report) => report.step === step && stop.abort();
      await campaign.begin(out, { onStep, signal: stop.signal });
      mount("-o", "remount,ro");
      const [reason, advice] = ["EROFS: read-only file system", "mount it writable"];
      await stopped(campaign, where, () => campaign.resume(out), reason, advice);
      await stopped(campaign, where, () => campaign.begin(join(at, "other")), reason, advice);
      mount("-o", "remount,rw");
      await goesOn(campaign, where, out);
      figures["read-only disks"] += 1;
    }
  } finally {
    execFileSync("umount", [at]);
  }
  return null;
}

/** Bytes that a run needs at most. */
async function sizeOf(campaign, mount, out) {
  mount("-o", "remount,size=64m");
  const used = () => {
    const [, line] = execFileSync("df", ["-k", "--output=used", join(out, "..")], {
      encoding: "utf8",
    })
      .trim()
      .split("\n");
    return Number(line) * 1024;
  };
  let most = 0;
  const look = setInterval(() => {
    most = Math.max(most, used());
  }, 5);
  await campaign.begin(out);
  clearInterval(look);
  rmSync(out, { recursive: true });
  return Math.max(most, 1);
}

async function inTheWay(campaign, figures) {
  const file = join(campaign.folder, "file");
  writeFileSync(file, "");
  const [notFolder, gone] = ["ENOTDIR: not a directory", "ENOENT: no such file or directory"];
  const elsewhere = "choose another folder";
  const begin =
    (out, onStep = () => {}) =>
    () =>
      campaign.begin(out, { onStep });
  await stopped(campaign, "a file in the folder's place", begin(file), notFolder, elsewhere);
  await stopped(campaign, "a file above it", begin(join(file, "run")), notFolder, elsewhere);
  const out = campaign.fresh("gone");
  for (const at of [0, 2]) {
    const where = `a folder removed after step ${at}`;
    const remove = ({ step }) => step === at && rmSync(out, { recursive: true });
    await stopped(campaign, where, begin(out, remove), gone, "it was removed");
    if (existsSync(out)) campaign.fail(where, "it came back");
  }
  const where = "a folder moved after step 2";
  const move = ({ step }) => step === 2 && renameSync(out, `${out}-moved`);
  await stopped(campaign, where, begin(out, move), gone, "it was removed, or moved");
  await goesOn(campaign, where, `${out}-moved`);
  figures["folders in the way or gone"] += 5;
}

/** Root may write everywhere: another user trains here. */
async function ofAnother(campaign, figures) {
  const nobody = 65534;
  const own = join(campaign.folder, "own");
  const others = join(campaign.folder, "others");
  for (const folder of [own, others]) mkdirSync(folder);
  chmodSync(campaign.folder, 0o755);
  chownSync(own, nobody, nobody);
  const args = (out) => beginArgs("grpo", out, { warmStart: false });
  const refused = await start(args(join(others, "run")), { uid: nobody }).ended;
  const said =
    /EACCES: permission denied.*; choose another folder, or change who may write there/.test(
      refused.err,
    );
  if (refused.code !== 1 || !said)
    campaign.fail("another's folder", `exit code ${refused.code}: ${refused.err}`);
  const allowed = await start(args(join(own, "run")), { uid: nobody }).ended;
  if (allowed.code !== 0)
    campaign.fail("one's own folder", `exit code ${allowed.code}: ${allowed.err}`);
  figures["folders in the way or gone"] += 2;
}

/** A run that must fail of what the system says, and tell what to do. */
async function stopped(campaign, where, action, reason, advice) {
  try {
    await action();
    campaign.fail(where, "nothing was refused");
  } catch (error) {
    const ours = error instanceof campaign.api.FiresteelError && error.code === "ERR_CHECKPOINT";
    if (!ours) campaign.fail(where, `not ERR_CHECKPOINT: ${error.stack}`);
    for (const part of [reason, advice]) {
      if (!error.message.includes(part)) campaign.fail(where, `${error.message}: without ${part}`);
    }
  }
}

/** A copy is what is whole or not; the original is what goes on. */
async function goesOn(campaign, where, out) {
  const kept = campaign.fresh("kept");
  if (existsSync(out)) cpSync(out, kept, { recursive: true, verbatimSymlinks: true });
  const any = await campaign.check(where, kept, -1);
  await campaign.finish(where, out, any);
  rmSync(out, { recursive: true, force: true });
}

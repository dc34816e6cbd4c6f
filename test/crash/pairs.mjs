import { readdirSync } from "node:fs";
import { join } from "node:path";
import { Campaign } from "./campaign.mjs";
import { differences, outcomeOf } from "./outcome.mjs";
import { beginArgs, resumeArgs, start } from "./process.mjs";

/** Two processes at one folder: the second is refused, the first is not disturbed, and a kill frees it. */
export async function pairs({ api }) {
  const campaign = new Campaign(api, "grpo", { report: true });
  const out = join(campaign.folder, "shared");
  await campaign.straight();
  const refused = async (where, args) => {
    const { code, err } = await start(args).ended;
    const said = err.includes(`process ${holder.child.pid} trains in ${out}; wait for its end`);
    if (code !== 1 || !said) campaign.fail(where, `exit code ${code}: ${err}`);
  };
  const holder = start(beginArgs("grpo", out, { warmStart: false }));
  // It is stopped in the middle of its run, so that the others meet it there.
  while (
    holder.child.exitCode === null &&
    !readdirOf(out).some((name) => /^checkpoint-/.test(name))
  ) {
    await new Promise((go) => setTimeout(go, 5));
  }
  holder.child.kill("SIGSTOP");
  await refused("a second run", beginArgs("grpo", out, { warmStart: false }));
  await refused("a second that goes on", resumeArgs(out));
  holder.child.kill("SIGKILL");
  holder.child.kill("SIGCONT");
  await holder.ended;
  const { code, err } = await start(resumeArgs(out)).ended;
  if (code !== 0) campaign.fail("after the kill", err);
  for (const text of differences(outcomeOf(out), campaign.expected))
    campaign.fail("after the kill", text);
  campaign.end();
  return { failures: campaign.failures, figures: { "second processes refused": 2 } };
}

function readdirOf(folder) {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

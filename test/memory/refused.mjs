// Allocations refused one after the other: what a scenario says, leaves behind and gives afterwards.
import { Engine } from "../../dist/index.js";
import { digest } from "./digest.mjs";

/** What was asked for and what was free. */
const named = /expected at most \d+ more bytes \(limit \d+, in use \d+\) but \d+ were asked for/;

/**
 * @param points which allocations are refused, ascending; ends where a call has no more of them
 * @returns how many were refused, and what is wrong
 */
export async function refuse(scenario, points) {
  const engine = new Engine({ device: "cpu", threads: 1 });
  const opened = await scenario.open(engine);
  const findings = [];
  let refused = 0;
  const arm = (n) => engine.addon.refuseAllocation(engine.handle, n);
  const settle = async () => {
    await engine.synchronize();
    return engine.memory().live;
  };
  try {
    const expected = digest(await opened.call());
    // A call's workspace stays for the next one: it belongs to the engine from then on.
    const live = await settle();
    for (const n of points) {
      arm(n);
      let error = null;
      try {
        await opened.call();
      } catch (caught) {
        error = caught;
      }
      const reached = arm(0) === 0;
      const say = (what) => findings.push(`${scenario.name}: allocation ${n} refused: ${what}`);
      if (!reached) {
        if (error !== null) say(`it was not reached, yet the call failed: ${error.stack}`);
        break;
      }
      refused += 1;
      if (error !== null && !named.test(error.message)) say(`the message is: ${error.message}`);
      if (error !== null && error.code !== "ERR_OUT_OF_MEMORY") say(`the code is ${error.code}`);
      const left = (await settle()) - live;
      if (left > 0) say(`${left} bytes are left`);
      if (!scenario.again) continue;
      const again = await (error !== null && opened.again ? opened.again() : opened.call());
      if (digest(again) !== expected) say("the same call gives other bits afterwards");
      const after = (await settle()) - live;
      if (after > left) say(`${after} bytes are left by the same call afterwards`);
    }
  } finally {
    arm(0);
    await opened.end?.();
    engine.dispose();
  }
  return { refused, findings };
}

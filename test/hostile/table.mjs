/** What a run of hostile calls came to, for a stranger and for a program. */

/** Outcomes over all exports. */
function totals(tally) {
  const all = {};
  for (const { outcomes } of tally.values()) {
    for (const [outcome, count] of Object.entries(outcomes))
      all[outcome] = (all[outcome] ?? 0) + count;
  }
  return all;
}

const repeat = (how, call) =>
  `node test/hostile/run.mjs --seed ${how.seed} --call ${call}${how.only ? ` --only ${how.only}` : ""}`;

/** Failures that say the same, once, with the first call that shows it. */
function distinct(failures) {
  const found = new Map();
  for (const { failure, id, call } of failures) {
    const key = `${id}: ${failure.replaceAll(/\d+(\.\d+)?/g, "#")}`;
    const known = found.get(key) ?? { id, failure, call, times: 0 };
    known.times += 1;
    found.set(key, known);
  }
  return [...found.values()];
}

export function summary(result, how) {
  return {
    ...how,
    calls: result.calls,
    exports: result.tally.size,
    outcomes: totals(result.tally),
    terminated: result.cut,
    crashes: result.crashes,
    hangs: result.hangs,
    failures: distinct(result.failures),
    perExport: Object.fromEntries(result.tally),
  };
}

export function closingTable(result, how) {
  const { calls, exports, outcomes, terminated, crashes, hangs, failures } = summary(result, how);
  const rows = [...result.tally].sort(([a], [b]) => (a < b ? -1 : 1));
  const width = Math.max(...rows.map(([id]) => id.length));
  const line = ([id, { calls: own, outcomes: got, slowest, slowestCall }]) => {
    const codes = Object.entries(got)
      .sort(([, a], [, b]) => b - a)
      .map(([outcome, count]) => `${outcome} ${count}`)
      .join(", ");
    const time = `${slowest.toFixed(1)} ms (call ${slowestCall})`;
    return `${id.padEnd(width)}  ${String(own).padStart(7)}  ${time.padStart(26)}  ${codes}`;
  };
  const died =
    (what) =>
    ({ calls: within, code, signal, stderr }) =>
      within.length === 0
        ? `${what} before the first call (${signal ?? `exit code ${code}`})\n  ${stderr}`
        : `${what} within call ${within.join(" or ")} (${signal ?? `exit code ${code}`})\n  ${repeat(how, within[0])}\n  ${stderr}`;
  return [
    `${"export".padEnd(width)}  ${"calls".padStart(7)}  ${"slowest".padStart(26)}  outcomes`,
    ...rows.map(line),
    "",
    ...crashes.map(died("crash")),
    ...hangs.map(died("hang")),
    ...failures.map(
      ({ id, failure, call, times }) => `${id}: ${failure}, ${times} times\n  ${repeat(how, call)}`,
    ),
    `${calls} calls of ${exports} exports on ${how.device}, seed ${how.seed}: ${crashes.length} crashes, ${hangs.length} hangs, ${failures.length} failures`,
    `outcomes: ${Object.entries(outcomes)
      .map(([name, count]) => `${name} ${count}`)
      .join(", ")}, cut off by terminating their worker ${terminated}`,
  ].join("\n");
}

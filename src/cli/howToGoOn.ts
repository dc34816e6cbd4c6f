import { existsSync, readdirSync } from "node:fs";
import { checkpointsByAge } from "../files/checkpointNames.js";

/** What goes on with a run that was stopped, where there is a checkpoint to go on from. */
export function howToGoOn(out: string): string {
  const entries = existsSync(out) ? readdirSync(out) : [];
  const any = entries.includes("state.json") || checkpointsByAge(entries).length > 0;
  return any
    ? `go on with: firesteel train --resume ${shellWord(out)}`
    : "nothing has been saved yet";
}

/** As a shell takes it for one word. */
function shellWord(text: string): string {
  return /^[\w./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

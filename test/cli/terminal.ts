import { runCommand } from "../../src/cli/program.js";

export interface Outcome {
  code: number;
  out: string;
  err: string;
}

/** Runs a command as a shell would, and keeps what it prints. */
export async function firesteel(args: readonly string[], interactive = false): Promise<Outcome> {
  let out = "";
  let err = "";
  const code = await runCommand(args, {
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    interactive,
    columns: 120,
  });
  return { code, out, err };
}

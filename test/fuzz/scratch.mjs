import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A folder of this process, gone with it. */
export const scratch = mkdtempSync(join(tmpdir(), "firesteel-fuzz-"));

process.once("exit", () => rmSync(scratch, { recursive: true, force: true }));

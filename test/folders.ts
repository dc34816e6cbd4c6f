import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach } from "vitest";

const folders: string[] = [];

/** A folder that is removed after the test. */
export async function temporaryFolder(): Promise<string> {
  const { folder } = await keptFolder();
  folders.push(folder);
  return folder;
}

afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

/** A folder that several tests share: whoever asks for it removes it. */
export async function keptFolder(): Promise<{ folder: string; remove: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "firesteel-test-"));
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}

import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { PeerProcess } from "./child.js";
import type { Peer } from "./peer.js";
import { plainJavaScript } from "./plain.js";

export interface Peers {
  peers: Peer[];
  /** Who is not there, and what to do about it. */
  missing: { name: string; reason: string }[];
  close(): void;
}

const folder = join(fileURLToPath(import.meta.url), "../../../../bench/peers");

/** The peers of the repository; plain JavaScript alone where the package is installed without them. */
export async function findPeers(threads: number): Promise<Peers> {
  const found: Peers = { peers: [plainJavaScript()], missing: [], close: () => {} };
  if (!existsSync(join(folder, "package.json"))) {
    const reason = "only in the repository (bench/peers)";
    return { ...found, missing: [{ name: "other peers", reason }] };
  }
  const python = process.env.FIRESTEEL_PYTHON ?? "python3";
  const counts = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"];
  const env = Object.fromEntries(counts.map((name) => [name, String(threads)]));
  const children = [
    { name: "JavaScript libraries", command: process.execPath, script: "javascript.mjs" },
    { name: "Python libraries", command: python, script: "python.py" },
  ].map(({ name, command, script }) => {
    return { name, child: new PeerProcess(command, [join(folder, script)], env) };
  });
  for (const { name, child } of children) {
    try {
      const { peers, missing } = await child.hello();
      found.peers.push(...peers);
      found.missing.push(...missing);
    } catch (error) {
      found.missing.push({ name, reason: (error as Error).message });
    }
  }
  return {
    ...found,
    close: () => {
      for (const { child } of children) child.close();
    },
  };
}

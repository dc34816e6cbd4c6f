import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { FiresteelError } from "../../engine/error.js";
import type { Inputs } from "../inputs.js";
import type { Peer } from "./peer.js";

/** What a child says first: who it can be, and who it cannot and why. */
interface Hello {
  peers: string[];
  missing: { name: string; reason: string }[];
}

type Reply = { ok: true; [key: string]: unknown } | { ok: false; error: string };

/**
 * A process that answers one JSON line to each JSON line:
 *
 *     {"op": "hello"}                            {"ok": true, "peers": [...], "missing": [{name, reason}]}
 *     {"op": "prepare", "peer", ...PeerTask}     {"ok": true, "values": {...} | null}
 *     {"op": "time", "samples", "sampleMs", "budgetMs"}   {"ok": true, "ms": [...]}
 *     {"op": "release"}                          {"ok": true}
 *
 * or `{"ok": false, "error"}`. Inputs are named by the files that hold them, little-endian.
 */
export class PeerProcess {
  readonly #child: ChildProcess;
  readonly #folder = mkdtempSync(join(tmpdir(), "firesteel-bench-"));
  readonly #waiting: { resolve: (reply: Reply) => void; reject: (error: Error) => void }[] = [];
  #written: Inputs | null = null;
  #error = "";
  #ended: Error | null = null;

  constructor(command: string, args: readonly string[], env: Readonly<Record<string, string>>) {
    this.#child = spawn(command, args, {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
    createInterface({ input: this.#child.stdout! }).on("line", (line) => {
      // Libraries print what they like; only objects are replies.
      if (line.startsWith("{")) this.#waiting.shift()?.resolve(JSON.parse(line) as Reply);
    });
    this.#child.stderr!.on("data", (chunk: Buffer) => {
      this.#error = (this.#error + chunk.toString()).slice(-2000);
    });
    const end = (reason: string) => {
      const last = this.#error.trim().split("\n").at(-1) ?? "";
      this.#ended = new Error(last === "" ? reason : `${reason}: ${last}`);
      for (const { reject } of this.#waiting.splice(0)) reject(this.#ended);
    };
    this.#child.on("error", (error) => end(error.message));
    this.#child.on("close", (code) => end(`${command} ended with ${code}`));
    this.#child.stdin!.on("error", () => {}); // its end says why
  }

  async ask(request: object, limitMs = 180_000): Promise<Reply & { ok: true }> {
    if (this.#ended !== null) throw this.#ended;
    const reply = await new Promise<Reply>((resolve, reject) => {
      const timer = setTimeout(() => this.#child.kill("SIGKILL"), limitMs);
      const settled =
        <T>(settle: (value: T) => void) =>
        (value: T) => {
          clearTimeout(timer);
          settle(value);
        };
      this.#waiting.push({ resolve: settled(resolve), reject: settled(reject) });
      this.#child.stdin!.write(`${JSON.stringify(request)}\n`);
    });
    if (!reply.ok) throw new FiresteelError("ERR_OPTION", reply.error);
    return reply;
  }

  async hello(): Promise<{ peers: Peer[]; missing: Hello["missing"] }> {
    const { peers, missing } = (await this.ask({ op: "hello" })) as unknown as Hello;
    return { peers: peers.map((name) => this.#peer(name)), missing };
  }

  #peer(name: string): Peer {
    return {
      name,
      prepare: async ({ inputs, ...task }) => {
        const files = this.#files(inputs);
        const reply = await this.ask({ op: "prepare", peer: name, ...task, inputs: files });
        return reply.values as Record<string, number[]> | null;
      },
      time: async (options) => (await this.ask({ op: "time", ...options })).ms as number[],
      release: async () => void (await this.ask({ op: "release" })),
      close: () => this.close(),
    };
  }

  /** Written once for all peers of this process that a case asks. */
  #files(inputs: Inputs) {
    const place = (name: string) => join(this.#folder, `${name}.bin`);
    if (inputs !== this.#written) {
      for (const [name, { data }] of Object.entries(inputs)) writeFileSync(place(name), data);
      this.#written = inputs;
    }
    return Object.fromEntries(
      Object.entries(inputs).map(([name, { dtype, shape, repeat = 1 }]) => [
        name,
        { file: place(name), dtype, shape, repeat },
      ]),
    );
  }

  close(): void {
    this.#child.stdin!.end();
    this.#child.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

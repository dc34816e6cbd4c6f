import { describe, expect, it } from "vitest";
import { imports, run } from "./runModule.js";

/** Log-probs of some logits, by an engine of two threads: `values`. */
const score = `
  const own = new Engine({ device: "cpu", threads: 2 });
  const given = own.tensor(Float32Array.from({ length: 8 * 3000 }, (_, i) => Math.cos(i)), [8, 3000]);
  const scored = logProb(own, given, new Int32Array(8)).logProb;
  const values = await scored.read();`;

/** Prints "true" where everything in `all` is what this process gets alone. */
const compare = `
  ${score}
  console.log(all.length, all.every((one) => String(one) === String(values)));`;

const asUrl = (source: string) => `data:text/javascript,${encodeURIComponent(source)}`;

describe("an engine in every thread and process", { timeout: 180_000 }, () => {
  it("gives two workers the bits that one gets alone", () => {
    const worker = `${imports}
      import { parentPort } from "node:worker_threads";
      ${score}
      for (let i = 0; i < 20; ++i) {
        const again = logProb(own, given, new Int32Array(8));
        parentPort.postMessage(await again.logProb.read());
        again.logProb.dispose();
      }
      own.dispose();`;
    const { stdout, status, stderr } = run(`
      import { Worker } from "node:worker_threads";
      const all = [];
      await Promise.all([1, 2].map(() => new Promise((resolve, reject) => {
        const worker = new Worker(new URL(${JSON.stringify(asUrl(worker))}));
        worker.on("message", (values) => all.push(values)).on("error", reject).on("exit", resolve);
      })));
      ${compare}`);
    expect({ stdout, status }, stderr).toEqual({ stdout: "40 true", status: 0 });
  });

  it("survives child_process.fork and cluster.fork of a process that is at work", () => {
    const child = `${imports}
      ${score}
      process.send(values, () => process.disconnect());`;
    const { stdout, status, stderr } = run(`
      import { fork } from "node:child_process";
      import cluster from "node:cluster";
      import { writeFileSync, mkdtempSync, rmSync } from "node:fs";
      import { tmpdir } from "node:os";
      import { join } from "node:path";
      const folder = mkdtempSync(join(tmpdir(), "firesteel-fork-"));
      const file = join(folder, "child.mjs");
      writeFileSync(file, ${JSON.stringify(child)});
      const engine = new Engine({ device: "cpu" });
      const logits = engine.zeros([64, 50000]);
      const all = [];
      const ended = (child) => new Promise((resolve, reject) => {
        child.on("message", (values) => all.push(values)).on("error", reject).on("exit", resolve);
      });
      cluster.setupPrimary({ exec: file, execArgv: [], serialization: "advanced" });
      const children = [];
      for (let i = 0; i < 2; ++i) {
        for (let j = 0; j < 20; ++j) logProb(engine, logits, new Int32Array(64));
        children.push(fork(file, { execArgv: [], serialization: "advanced" }), cluster.fork());
      }
      console.log(...await Promise.all(children.map(ended)));
      await engine.synchronize();
      ${compare}
      rmSync(folder, { recursive: true });`);
    expect({ stdout, status }, stderr).toEqual({ stdout: "0 0 0 0\n4 true", status: 0 });
  });
});

describe("what is read", { timeout: 180_000 }, () => {
  it("can be transferred to another thread, and the tensor is as before", () => {
    const { stdout, status, stderr } = run(`
      import { MessageChannel, receiveMessageOnPort } from "node:worker_threads";
      const { port1, port2 } = new MessageChannel();
      const all = [];
      {
        ${score}
        for (const result of [values, await scored.read(), scored.readSync()]) {
          port1.postMessage(result, [result.buffer]);
          if (result.length !== 0) console.log("kept");
          all.push(receiveMessageOnPort(port2).message);
        }
        own.dispose();
      }
      ${compare}
      port1.close();`);
    expect({ stdout, status }, stderr).toEqual({ stdout: "3 true", status: 0 });
  });

  it("is the input as it was at the call, also in memory that threads share", () => {
    const worker = `
      import { parentPort, workerData } from "node:worker_threads";
      parentPort.postMessage(workerData.fill(2)[0]);`;
    const { stdout, status, stderr } = run(`
      import { Worker } from "node:worker_threads";
      const engine = new Engine({ device: "cpu" });
      const logits = engine.zeros([64, 50000]);
      for (let i = 0; i < 20; ++i) logProb(engine, logits, new Int32Array(64));
      const shared = new Float32Array(new SharedArrayBuffer(4 * 100_000)).fill(1);
      const tensor = engine.tensor(shared);
      const worker = new Worker(new URL(${JSON.stringify(asUrl(worker))}), { workerData: shared });
      const written = await new Promise((resolve) => worker.on("message", resolve));
      const read = await tensor.read();
      console.log(written, shared[99_999], read.length, read.every((value) => value === 1));`);
    expect({ stdout, status }, stderr).toEqual({ stdout: "2 2 100000 true", status: 0 });
  });
});

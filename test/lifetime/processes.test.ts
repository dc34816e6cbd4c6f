import { describe, expect, it } from "vitest";
import { busy, imports, run } from "./runModule.js";

describe("an engine with work in flight", { timeout: 180_000 }, () => {
  it("does not hold up the end of the program", () => {
    expect(run(busy)).toMatchObject({ status: 0, signal: null });
  });

  it("lets process.exit() through", () => {
    expect(run(`${busy} process.exit(7);`)).toMatchObject({ status: 7, signal: null });
  });

  it("keeps the program alive while a read is pending, and no longer", () => {
    const { stdout, status } = run(`${busy}
      engine.zeros([2]).read().then((values) => console.log("read", ...values));`);
    expect({ stdout, status }).toEqual({ stdout: "read 0 0", status: 0 });
  });

  it("can be disposed of at any moment", () => {
    const { stdout, status } = run(`${busy}
      const pending = logits.read().catch((error) => error.code);
      engine.dispose();
      console.log(await pending);`);
    expect({ stdout, status }).toEqual({ stdout: "ERR_DISPOSED", status: 0 });
  });

  it("ends with its worker, also one that is terminated", () => {
    const worker = `
      ${imports}
      import { parentPort } from "node:worker_threads";
      ${busy}
      parentPort.postMessage("busy");
      setInterval(() => {}, 1000);`;
    const { stdout, status, stderr } = run(`
      import { Worker } from "node:worker_threads";
      const source = new URL("data:text/javascript," + encodeURIComponent(${JSON.stringify(worker)}));
      for (let i = 0; i < 3; ++i) {
        const worker = new Worker(source);
        await new Promise((resolve, reject) => worker.on("message", resolve).on("error", reject));
        await worker.terminate();
      }
      const engine = new Engine({ device: "cpu" });
      console.log(engine.tensor([1, 2]).readSync().join());
    `);
    expect({ stdout, status, stderr }).toMatchObject({ stdout: "1,2", status: 0 });
  });

  it("throws where the stack ends and does not end the process", () => {
    const { stdout, status, stderr } = run(`
      const engine = new Engine({ device: "cpu", memoryLimit: 1 << 20 });
      const deeper = () => {
        try { engine.empty([1e9]); } catch {}
        deeper();
      };
      try { deeper(); } catch (error) { console.log(error.name); }`);
    expect({ stdout, status, stderr }).toMatchObject({ stdout: "RangeError", status: 0 });
  });
});

describe("tensors that nobody disposed of", { timeout: 180_000 }, () => {
  it("are freed by the garbage collector", () => {
    const { stdout, status } = run(
      `const engine = new Engine({ device: "cpu" });
      for (let round = 0; round < 20; ++round) {
        for (let i = 0; i < 50; ++i) engine.zeros([10000]);
        gc();
        await new Promise((resolve) => setImmediate(resolve));
      }
      console.log(engine.memory().live < 20_000_000);`,
      "--expose-gc",
    );
    expect({ stdout, status }).toEqual({ stdout: "true", status: 0 });
  });
});

// Calls over HTTP that are aborted: a client goes, a server ends, a sampler's server is no longer waited for.
import { cpSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import * as firesteel from "../../dist/index.js";
import { shortTasks, small } from "../memory/scenarios.mjs";

const task = shortTasks.tokens;
const tokenizer = new firesteel.CharTokenizer(task.alphabet);
const newPolicy = (engine) => {
  const config = firesteel.tinyConfig(tokenizer.vocabularySize, task.policy);
  return firesteel.TokenPolicy.create(engine, config, { tokenizer, seed: 3 });
};
const save = async (engine, folder) => {
  const own = newPolicy(engine);
  await own.save(folder).finally(() => own.dispose());
};
const aborted = () => Object.assign(new Error("aborted"), { code: "ERR_ABORTED" });

/** A completion of 40 tokens; `signal` is the client's. */
async function complete(url, signal) {
  const body = { prompt: "01=2?", max_tokens: 40, seed: 1, logprobs: 0, n: 2 };
  const response = await fetch(`${url}/v1/completions`, {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json", connection: "close" },
    signal,
  });
  const { choices, error } = await response.json();
  if (response.ok) return choices;
  throw error.code === "stopping" ? aborted() : new Error(error.message);
}

const clientGone = {
  name: "serve, the client gone",
  passes: 16,
  open(engine, folder) {
    let server = null;
    return {
      async prepare() {
        await save(engine, folder);
        server = await firesteel.serve({ policy: folder, port: 0, engine });
      },
      async call(signal) {
        try {
          this.choices = await complete(server.url, signal);
        } catch (error) {
          throw signal?.aborted ? aborted() : error;
        } finally {
          // The server has its own turns to see it: they are counted, too.
          for (let turns = 0; turns < 10_000 && server.active > 0; ++turns) await turn();
        }
      },
      bits() {
        return this.choices;
      },
      wrong: () => (server.active > 0 ? "the server still answers" : null),
      end: () => server.close(),
    };
  },
};
const turn = () => new Promise((resolve) => setImmediate(resolve));

const serverEnds = {
  name: "serve, the server aborted and closed",
  passes: 16,
  open(engine, folder) {
    return {
      prepare: () => save(engine, folder),
      async call(signal) {
        const server = await firesteel.serve({ policy: folder, port: 0, engine });
        let closed = null;
        const end = () => {
          server.abort();
          closed = server.close();
        };
        signal?.addEventListener("abort", end);
        try {
          if (signal?.aborted) end();
          this.choices = await complete(server.url);
        } catch (error) {
          // A client that has not been heard yet finds nobody.
          throw signal?.aborted && error instanceof TypeError ? aborted() : error;
        } finally {
          await (closed ?? server.close());
        }
      },
      bits() {
        return this.choices;
      },
    };
  },
};

const sampler = {
  name: "OpenAISampler",
  passes: 16,
  open(engine, folder) {
    const policy = newPolicy(engine);
    const prompts = task.train.slice(0, 2).map((question) => ({
      ...question,
      tokens: Int32Array.from(tokenizer.encode(question.messages[0].content)),
    }));
    const request = {
      ...{ prompts, counts: [3, 2], temperature: 1, maxCompletionLength: 12 },
      ...{ streams: Array.from({ length: 5 }, (_, i) => [i, 9]) },
      ...{ greedy: false, stop: [], hook: null },
    };
    let server = null;
    return {
      async prepare() {
        server = await firesteel.serve({ policy: folder, port: 0, engine, wait: true });
      },
      async call(signal = null) {
        const asked = { url: server.url, directory: folder, rolloutsPerRequest: 2 };
        const own = await firesteel.OpenAISampler.connect(asked, signal);
        await own.refresh(4, policy, signal);
        this.rollouts = await own.sample({ ...request, signal });
      },
      bits() {
        return this.rollouts.map(({ actions, columns }) => [actions, columns]);
      },
      async end() {
        policy.dispose();
        await server.close();
      },
    };
  },
};

const trainOverHttp = {
  name: "train grpo with a server, abort",
  stops: true,
  passes: 16,
  open(engine, folder) {
    const [base, out, weights] = ["base", "run", "weights"].map((name) => join(folder, name));
    let server = null;
    const options = () => ({
      ...{ ...small, system: "grpo", task, engine },
      sampler: { url: server.url, directory: weights },
    });
    return {
      async prepare() {
        server = await firesteel.serve({ policy: weights, port: 0, engine, wait: true });
        await firesteel.train({ ...options(), steps: 1, out: base });
      },
      async call(abort) {
        rmSync(out, { recursive: true, force: true });
        cpSync(base, out, { recursive: true, verbatimSymlinks: true });
        try {
          return await firesteel.train({ ...options(), resume: out, abort });
        } catch (error) {
          // There is no run yet while its server is looked for.
          if (error.code !== "ERR_ABORTED" || !/within|request/.test(error.message)) throw error;
          return { stopped: true, stoppedBy: "signal" };
        }
      },
      again: () => firesteel.train({ ...options(), resume: out }),
      bits: () => [readFileSync(join(out, "checkpoint-2", "policy", "model.safetensors"))],
      end: () => server.close(),
    };
  },
};

export const httpCalls = [clientGone, serverEnds, sampler, trainOverHttp].map((call) => ({
  ...call,
  http: true,
}));

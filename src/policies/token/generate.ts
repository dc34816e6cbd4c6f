import { setImmediate } from "node:timers/promises";
import type { Finish, SampleRequest } from "../../contract/index.js";
import { throwIfAborted } from "../../engine/checks.js";
import { logProb } from "../../engine/kernels/logProb.js";
import { gatherRows } from "../../engine/nn/embed.js";
import { sample } from "../../engine/nn/sample.js";
import { offsetsOf } from "../../engine/ragged.js";
import type { Tensor } from "../../engine/tensor.js";
import { type Random, random } from "../../nn/random.js";
import { type DecodeBatch, KeyValueCache } from "./keyValueCache.js";
import { checkRequest } from "./sampleRequest.js";
import type { Transformer } from "./transformer.js";

/** What came after one prompt. */
export interface Completion {
  readonly prompt: number;
  /** The token that ended it is the last one. */
  readonly ids: Int32Array;
  /** Of the temperature-scaled, untruncated distribution. */
  readonly logProb: Float32Array;
  /** "error": the network gave no distribution (NaN), and the completion ends before. */
  readonly finish: Finish;
}

/**
 * Sees every token as it is drawn, and ends a rollout by answering how it finishes.
 *
 * @param rollout counts in the order of the request's streams
 * @param logProb of the token
 */
export type TokenWatch = (rollout: number, token: number, logProb: number) => Finish | null;

/** A row in the making. */
interface Row {
  readonly rollout: number;
  readonly prompt: number;
  readonly random: Random;
  /** Slots of its prompt, which it shares with the other rows of that prompt. */
  readonly prefix: { readonly begin: number; readonly length: number };
  /** Its own slots begin here. */
  readonly ownSlots: number;
  readonly limit: number;
  readonly ids: number[];
  readonly logProb: number[];
  finish: Finish | null;
}

/**
 * Samples completions. A prompt goes through the network once, however many rows continue it; rows
 * that have ended leave the batch. A completion depends on its stream, prompt and the weights alone.
 *
 * @param stop ids that end a completion
 * @param watch sees the tokens as they come
 * @throws FiresteelError ERR_SHAPE, ERR_RANGE, ERR_OPTION, ERR_SAMPLER (a hook), ERR_OUT_OF_MEMORY,
 * ERR_ABORTED
 */
export async function generate(
  model: Transformer,
  request: SampleRequest,
  stop: ReadonlySet<number>,
  watch: TokenWatch | null = null,
): Promise<Completion[]> {
  checkRequest(model.config, request);
  const { prompts, slots: promptSlots } = layPrompts(request);
  const { rows, slots } = layRows(model, request, prompts, promptSlots);
  if (rows.length === 0) return [];
  const cache = new KeyValueCache(model, slots);
  let logits: Tensor | null = null;
  try {
    logits = prefill(model, cache, request, prompts, rows);
    for (let live: readonly Row[] = rows; ; ) {
      throwIfAborted(request.signal, "Sampling");
      await choose(model, logits, live, request, stop, watch);
      logits.dispose();
      live = live.filter((row) => row.finish === null);
      if (live.length === 0) break;
      // Small work never leaves this thread: whoever looks on gets a turn to act on what came.
      if (watch !== null) await setImmediate();
      logits = cache.advance(nextTokens(live));
    }
  } finally {
    logits?.dispose();
    cache.dispose();
  }
  return rows.map(({ prompt, ids, logProb, finish }) => ({
    prompt,
    ids: Int32Array.from(ids),
    logProb: Float32Array.from(logProb),
    finish: finish!,
  }));
}

type Prefix = Row["prefix"];

/** Slots for the distinct prompts; prompts[i] is where the request's prompt i lies. */
function layPrompts({ prompts }: SampleRequest): { prompts: Prefix[]; slots: number } {
  const known = new Map<string, Prefix>();
  let slots = 0;
  const laid = prompts.map(({ tokens }) => {
    const key = tokens.join();
    let prefix = known.get(key);
    if (prefix === undefined) {
      prefix = { begin: slots, length: tokens.length };
      known.set(key, prefix);
      slots += tokens.length;
    }
    return prefix;
  });
  return { prompts: laid, slots };
}

function layRows(
  { config }: Transformer,
  { counts, streams, maxCompletionLength }: SampleRequest,
  prompts: readonly Prefix[],
  promptSlots: number,
): { rows: Row[]; slots: number } {
  let slots = promptSlots;
  const rows: Row[] = [];
  for (const [prompt, prefix] of prompts.entries()) {
    const limit = Math.min(maxCompletionLength, config.maxLength - prefix.length);
    for (let i = 0; i < counts[prompt]!; ++i) {
      rows.push({
        rollout: rows.length,
        prompt,
        random: random(streams[rows.length]!),
        prefix,
        ownSlots: slots,
        limit,
        ids: [],
        logProb: [],
        finish: null,
      });
      // The last token is never read.
      slots += limit - 1;
    }
  }
  return { rows, slots };
}

/** Logits of every row's first token. */
function prefill(
  { engine }: Transformer,
  cache: KeyValueCache,
  request: SampleRequest,
  prompts: readonly Prefix[],
  rows: readonly Row[],
): Tensor {
  const distinct = [...new Set(rows.map(({ prefix }) => prefix))];
  const index = new Map(distinct.map((prefix, i) => [prefix, i]));
  const offsets = offsetsOf(distinct.map(({ length }) => length));
  const count = offsets.at(-1)!;
  const batch: DecodeBatch = {
    ids: new Int32Array(count),
    positions: new Int32Array(count),
    slots: new Int32Array(count),
    rowOffsets: offsets,
    keyOffsets: offsets,
    keyIndex: new Int32Array(count),
    wanted: offsets.slice(1).map((end) => end - 1),
  };
  for (const [i, prefix] of distinct.entries()) {
    const begin = offsets[i]!;
    const { tokens } = request.prompts[prompts.indexOf(prefix)]!;
    for (let j = 0; j < prefix.length; ++j) {
      batch.ids[begin + j] = tokens[j]!;
      batch.positions[begin + j] = j;
      batch.slots[begin + j] = prefix.begin + j;
    }
  }
  batch.keyIndex.set(batch.slots);
  const logits = cache.advance(batch);
  try {
    return gatherRows(
      engine,
      logits,
      Int32Array.from(rows, ({ prefix }) => index.get(prefix)!),
    );
  } finally {
    logits.dispose();
  }
}

/** Draws the next token of every row and says which rows that ends. */
async function choose(
  { engine }: Transformer,
  logits: Tensor,
  rows: readonly Row[],
  { temperature, greedy }: SampleRequest,
  stop: ReadonlySet<number>,
  watch: TokenWatch | null,
): Promise<void> {
  const how = greedy
    ? { greedy }
    : { temperature, uniform: Float32Array.from(rows, (row) => row.random.uniform32()) };
  const drawn = engine.scope(() => {
    const tokens = sample(engine, logits, how);
    return { tokens, logProb: logProb(engine, logits, tokens, { temperature }).logProb };
  });
  try {
    const [tokens, logProbs] = await Promise.all([drawn.tokens.read(), drawn.logProb.read()]);
    for (const [i, row] of rows.entries()) {
      const token = tokens[i]!;
      if (token < 0) {
        row.finish = "error";
        continue;
      }
      row.ids.push(token);
      row.logProb.push(logProbs[i]!);
      const asked = watch?.(row.rollout, token, logProbs[i]!) ?? null;
      if (stop.has(token)) row.finish = "stop";
      else if (asked !== null) row.finish = asked;
      else if (row.ids.length === row.limit) row.finish = "length";
    }
  } finally {
    drawn.tokens.dispose();
    drawn.logProb.dispose();
  }
}

/** The last token of every row, which sees its prompt's slots and then its own. */
function nextTokens(rows: readonly Row[]): DecodeBatch {
  const count = rows.length;
  const batch: DecodeBatch = {
    ids: new Int32Array(count),
    positions: new Int32Array(count),
    slots: new Int32Array(count),
    rowOffsets: new Int32Array(count + 1),
    keyOffsets: offsetsOf(rows.map(({ prefix, ids }) => prefix.length + ids.length)),
    keyIndex: new Int32Array(0),
    wanted: new Int32Array(count),
  };
  const keyIndex = new Int32Array(batch.keyOffsets.at(-1)!);
  let at = 0;
  for (let i = 0; i < count; ++i) {
    const { prefix, ids, ownSlots } = rows[i]!;
    const last = ids.length - 1;
    batch.ids[i] = ids[last]!;
    batch.positions[i] = prefix.length + last;
    batch.slots[i] = ownSlots + last;
    batch.rowOffsets[i + 1] = i + 1;
    batch.wanted[i] = i;
    for (let j = 0; j < prefix.length; ++j) keyIndex[at++] = prefix.begin + j;
    for (let j = 0; j <= last; ++j) keyIndex[at++] = ownSlots + j;
  }
  return { ...batch, keyIndex };
}

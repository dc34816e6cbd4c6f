import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Column, Trajectory } from "../contract/data.js";
import { show } from "../engine/checks.js";
import { tensorOf } from "../engine/device.js";
import { FiresteelError } from "../engine/error.js";
import { sumSquares } from "../engine/nn/adamw.js";
import type { UpdateFrame } from "./accumulate.js";
import { disposeTerms, type EvaluatedTerm, isCoupled } from "./lossTerms.js";
import type { RowBatch } from "./minibatches.js";
import { notANumber } from "./notANumber.js";
import { scoreRows } from "./scores.js";

/** An update that was not taken, with what is needed to take it apart. */
export interface FailedUpdate {
  readonly batch: RowBatch;
  readonly rate: number;
  readonly loss: number;
  readonly gradNorm: number | null;
  /** Forward and backward of a part of the batch, as in the update itself. */
  readonly again: (part: RowBatch) => Promise<readonly EvaluatedTerm[]>;
}

/** What a part of the batch (a row, or a group that a loss couples) gives by itself. */
interface PartReport {
  rows: number[];
  /** By loss term. */
  losses: Record<string, number>;
  gradNorm: number;
}

/**
 * Writes the batch of an update whose loss or gradient is not finite, or whose rows have a value that is
 * not a number, into `OUT/failed-step-N`, and finds out where that came from. The weights are those before
 * the update.
 *
 * rollouts.jsonl: a line for every row with prompt, tokens, mask, columns (advantages, weights, the
 * sampler's log-probs), log-probs before the phase, now, and under other models. state.json: step, phase,
 * loss, gradient norm, learning rate, the first value that is not finite, and every part's own loss and
 * gradient. What is not finite stands there as "NaN", "Infinity" or "-Infinity".
 *
 * @returns the error to throw
 */
export async function failedUpdate(
  frame: UpdateFrame,
  failed: FailedUpdate,
): Promise<FiresteelError> {
  const { run, phase, scored, step } = frame;
  const { batch, loss, gradNorm, rate } = failed;
  const { model } = phase;
  const scores = await scoreRows(run, run.models[model]!, batch.rows);
  const lines = batch.rows.map((row, i) => rowRecord(frame, row, i, scores[i]!.logProb));
  const parts = await eachPart(frame, failed);
  const first = notANumber(batch.rows, scored) ?? brokenPart(parts);
  let where = "";
  if (run.out !== null) {
    const folder = join(run.out, `failed-step-${step}`);
    const { temperature } = run.settings;
    const state = { step, phase: phase.name, model, loss, gradNorm, first, temperature };
    const files = {
      "rollouts.jsonl": lines.map((line) => json(line)).join(""),
      "state.json": json({ ...state, learningRate: rate, parts }),
    };
    where = `; ${await written(folder, files)}, and the last checkpoint stands`;
  }
  const norm = gradNorm === null ? "was not used" : `has norm ${gradNorm}`;
  return new FiresteelError(
    "ERR_RANGE",
    `Expected a finite loss and gradient in step ${step} but the loss of phase ${show(phase.name)} is ` +
      `${loss} and the gradient ${norm} (${first ?? "every row by itself is finite"})${where}`,
  );
}

/** Where the batch lies, or why not: what the update failed of is to be told in any case. */
async function written(folder: string, files: Readonly<Record<string, string>>): Promise<string> {
  try {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder);
    for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
    return `its batch lies in ${folder}`;
  } catch (error) {
    return `its batch could not be written to ${folder} (${(error as Error).message})`;
  }
}

function rowRecord(
  { phase, scored }: UpdateFrame,
  row: Trajectory,
  index: number,
  logProb: Float32Array,
) {
  const { id, prompt, actions, mask, columns, reward, rewards, text, finish, policyVersion } = row;
  const { [phase.model]: old, ...others } = scored.get(row)!;
  const models = Object.entries(others).map(([name, scores]) => [name, scores.logProb]);
  return {
    row: index,
    id,
    prompt: { id: prompt.id, messages: prompt.messages, tokens: prompt.tokens },
    ...{ text, actions, mask, reward, rewards, finish, policyVersion },
    columns: Object.fromEntries(Object.entries(columns).map(([name, c]) => [name, valuesOf(c)])),
    oldLogProb: old!.logProb,
    logProb,
    modelLogProb: Object.fromEntries(models) as Record<string, Float32Array>,
  };
}

function valuesOf(column: Column): number | Float32Array {
  return column.level === "row" ? column.value : column.values;
}

async function eachPart(
  { run, phase }: UpdateFrame,
  { batch, again }: FailedUpdate,
): Promise<PartReport[]> {
  const { engine, models, optimizers } = run;
  const gradients = models[phase.model]!.parameters.map(({ grad, name }) => tensorOf(grad, name));
  const reports: PartReport[] = [];
  for (const part of units(batch, phase.loss.some(isCoupled))) {
    optimizers[phase.model]!.zeroGrad();
    const losses: Record<string, number> = {};
    const results = await again(part);
    try {
      for (const { block, loss } of results) {
        const [value] = await tensorOf(loss, "loss").read();
        losses[block] = (losses[block] ?? 0) + value!;
      }
    } finally {
      disposeTerms(results);
    }
    const square = engine.zeros([1], "f64");
    let gradNorm: number;
    try {
      sumSquares(engine, gradients, square);
      gradNorm = Math.sqrt((await square.read())[0]!);
    } finally {
      square.dispose();
    }
    reports.push({ rows: part.rows.map((row) => batch.rows.indexOf(row)), losses, gradNorm });
  }
  return reports;
}

/** Single rows, or the groups that a loss couples. */
function units({ rows, groupOffsets }: RowBatch, coupled: boolean): RowBatch[] {
  const bounds = coupled ? groupOffsets : Int32Array.from({ length: rows.length + 1 }, (_, i) => i);
  return Array.from({ length: bounds.length - 1 }, (_, i) => {
    const own = rows.slice(bounds[i], bounds[i + 1]);
    return { rows: own, groupOffsets: Int32Array.of(0, own.length) };
  });
}

/** The first part whose own loss or gradient is not finite. */
function brokenPart(parts: readonly PartReport[]): string | null {
  for (const { rows, losses, gradNorm } of parts) {
    const name = rows.length === 1 ? `row ${rows[0]}` : `rows ${rows.join(", ")}`;
    const term = Object.entries(losses).find(([, value]) => !Number.isFinite(value));
    if (term !== undefined) return `the loss ${term[0]} of ${name} is ${term[1]}`;
    if (!Number.isFinite(gradNorm)) return `the gradient of ${name} has norm ${gradNorm}`;
  }
  return null;
}

/** One line; typed arrays as arrays, what is not finite as its name. */
function json(value: unknown): string {
  const plain = (_: string, item: unknown) => {
    if (typeof item === "number" && !Number.isFinite(item)) return String(item);
    return ArrayBuffer.isView(item) ? Array.from(item as Float32Array) : item;
  };
  return `${JSON.stringify(value, plain)}\n`;
}

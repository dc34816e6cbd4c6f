import { describe, expect, test } from "vitest";
import { lossScale, microBatches, minibatches } from "../../src/trainer/minibatches.js";
import { permutation, streamAt, uniformAt } from "../../src/trainer/random.js";
import { groupOf, rolloutOf } from "../blocks/trajectories.js";

const token = [{ coupling: "token" }] as const;
const group = [{ coupling: "token" }, { coupling: "group" }] as const;
const groups = ["a", "b", "c"].map((key, g) => ({
  ...groupOf(key, []),
  trajectories: [0, 1, 2, 3].map((i) => rolloutOf(1, { id: 4 * g + i })),
}));
const ids = (batches: readonly { rows: readonly { id: number }[] }[]) =>
  batches.map(({ rows }) => rows.map(({ id }) => id));

describe("rows are cut into optimiser steps", () => {
  test("each row stands in exactly one, none is larger than asked", () => {
    const batches = minibatches(groups, 5, token, uniformAt(1, "minibatch"));
    expect(ids(batches).map((batch) => batch.length)).toEqual([5, 5, 2]);
    expect(
      ids(batches)
        .flat()
        .sort((a, b) => a - b),
    ).toEqual([...Array(12).keys()]);
    expect(ids(batches).flat()).not.toEqual([...Array(12).keys()]);
  });

  test("groups stay whole where a loss couples them", () => {
    const batches = minibatches(groups, 8, group, uniformAt(1, "minibatch"));
    expect(batches.map(({ groupOffsets }) => [...groupOffsets])).toEqual([
      [0, 4, 8],
      [0, 4],
    ]);
    for (const batch of ids(batches)) {
      for (let i = 0; i < batch.length; i += 4) {
        const first = batch[i]!;
        expect(batch.slice(i, i + 4)).toEqual([first, first + 1, first + 2, first + 3]);
      }
    }
    const parts = microBatches(batches[0]!, 3);
    expect(parts.map(({ groupOffsets }) => [...groupOffsets])).toEqual([
      [0, 3],
      [0, 1, 3],
      [0, 2],
    ]);
  });

  test("micro-batches keep the order", () => {
    const [batch] = minibatches(groups, 12, token, uniformAt(1, "minibatch"));
    expect(ids(microBatches(batch!, 5)).flat()).toEqual(ids([batch!]).flat());
  });

  test("a group without rows leaves nothing behind", () => {
    expect(minibatches([groupOf("a", [])], 4, group, Math.random)).toEqual([]);
  });
});

test("the scale of a step counts what is trained", () => {
  const rows = [rolloutOf(1, { length: 3 }), rolloutOf(1, { length: 2 })];
  rows[1]!.mask.fill(0);
  const scale = lossScale({ rows, groupOffsets: Int32Array.of(0, 2) });
  expect(scale).toEqual({ trainedTokens: 3, rows: 2, activeRows: 1, groups: 1, activeGroups: 1 });
});

describe("random streams", () => {
  test("differ by seed, purpose and place, and by nothing else", () => {
    const places = [
      streamAt(1, "rollout", 1, 0, 0, 0, 0),
      streamAt(2, "rollout", 1, 0, 0, 0, 0),
      streamAt(1, "evaluation", 1, 0, 0, 0, 0),
      streamAt(1, "rollout", 2, 0, 0, 0, 0),
      streamAt(1, "rollout", 1, 0, 0, 0, 1),
      streamAt(1, "rollout", 1, 0, 0, 1, 0),
    ];
    expect(new Set(places.map(String)).size).toBe(places.length);
    expect(streamAt(1, "rollout", 1, 0, 0, 0, 0)).toEqual(places[0]);
  });

  test("a permutation holds every number once", () => {
    const order = permutation(50, uniformAt(3, "promptOrder"));
    expect([...order].sort((a, b) => a - b)).toEqual([...Array(50).keys()]);
    expect(order).not.toEqual([...Array(50).keys()]);
  });
});

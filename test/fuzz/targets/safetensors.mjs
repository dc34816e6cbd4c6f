import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readSafetensors, writeSafetensors } from "../../../dist/nn/safetensors.js";
import { accepted } from "../refusal.mjs";
import { scratch } from "../scratch.mjs";

const given = join(scratch, "given.safetensors");
const written = join(scratch, "written.safetensors");

export const dictionary = [
  ..."dtype shape data_offsets __metadata__ F64 F32 F16 BF16 I32 U8 [0,0] 9007199254740992".split(
    " ",
  ),
];

/** A file of weights. What can be read is written and read again, twice: tensors and bytes stay. */
export async function fuzz(bytes) {
  writeFileSync(given, bytes);
  const read = await accepted(() => readSafetensors(given));
  if (read === null) return;
  await writeSafetensors(written, read.tensors, read.metadata);
  const again = await readSafetensors(written);
  assert.deepEqual(sorted(again), sorted(read));
  const first = readFileSync(written);
  await writeSafetensors(written, again.tensors, again.metadata);
  assert.deepEqual(readFileSync(written), first);
}

function sorted({ tensors, metadata }) {
  return [[...tensors].sort(([a], [b]) => (a < b ? -1 : 1)), { ...metadata }];
}

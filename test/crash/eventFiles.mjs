import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { crc32c } from "@aws-crypto/crc32c";
import { PbfReader } from "pbf";

/**
 * The scalars in a folder of TensorBoard event files by step, as TensorBoard reads them: files in the order
 * of their names, a file up to its first torn record, and a restart voids the later steps before it.
 *
 * @throws Error where a step has one scalar twice
 */
export function scalarsOf(folder) {
  let events = [];
  for (const name of readdirSync(folder).sort()) {
    for (const event of eventsOf(readFileSync(join(folder, name)))) {
      if (event.restart) events = events.filter(({ step }) => step < event.step);
      else events.push(event);
    }
  }
  const steps = {};
  for (const { step, scalars } of events) {
    for (const [tag, value] of scalars) {
      steps[step] ??= {};
      if (tag in steps[step]) throw new Error(`step ${step} has ${tag} twice`);
      steps[step][tag] = value;
    }
  }
  return steps;
}

function* eventsOf(file) {
  for (let at = 0; at + 12 <= file.length; ) {
    const length = Number(file.readBigUInt64LE(at));
    const end = at + 12 + length;
    if (end + 4 > file.length) return;
    const data = file.subarray(at + 12, end);
    if (file.readUInt32LE(end) !== masked(data)) return;
    yield eventOf(data);
    at = end + 4;
  }
}

function masked(data) {
  const sum = crc32c(data);
  return (((sum >>> 15) | (sum << 17)) + 0xa282ead8) >>> 0;
}

/** tensorflow.Event: step 2, summary 5 { value 1 { tag 1, simple_value 2 } }, session log 7. */
function eventOf(data) {
  const event = { step: 0, restart: false, scalars: [] };
  const value = (field, into, pbf) => {
    if (field === 1) into.tag = pbf.readString();
    else if (field === 2) into.number = pbf.readFloat();
  };
  const summary = (field, into, pbf) => {
    if (field !== 1) return;
    const one = pbf.readMessage(value, {});
    if (one.number !== undefined) into.push([one.tag, one.number]);
  };
  return new PbfReader(data).readFields((field, into, pbf) => {
    if (field === 2) into.step = pbf.readVarint();
    else if (field === 5) pbf.readMessage(summary, into.scalars);
    else if (field === 7) into.restart = true;
  }, event);
}

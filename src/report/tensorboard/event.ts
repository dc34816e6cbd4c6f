import { PbfWriter } from "pbf";

/** What an event says. Messages and field numbers: tensorflow/core/util/event.proto, framework/summary.proto. */
export type EventContent =
  | { fileVersion: string }
  /** Events from this step on, in earlier files, are void. */
  | { restart: true }
  | { scalars: Readonly<Record<string, number>> }
  | { tag: string; text: string };

/** tensorflow.Event as bytes; `wallTime` in seconds since 1970. */
export function encodeEvent(wallTime: number, step: number, content: EventContent): Uint8Array {
  const event = new PbfWriter();
  event.writeDoubleField(1, wallTime);
  event.writeVarintField(2, step);
  if ("fileVersion" in content) event.writeStringField(3, content.fileVersion);
  else if ("restart" in content) event.writeMessage(7, writeSessionStart, null);
  else event.writeMessage(5, writeSummary, content);
  return event.finish();
}

function writeSessionStart(_: null, log: PbfWriter): void {
  const start = 1;
  log.writeVarintField(1, start);
}

type Summary = Extract<EventContent, { scalars: unknown } | { tag: unknown }>;

function writeSummary(content: Summary, summary: PbfWriter): void {
  if ("text" in content) {
    summary.writeMessage(1, writeText, content);
    return;
  }
  for (const scalar of Object.entries(content.scalars)) {
    summary.writeMessage(1, writeScalar, scalar);
  }
}

function writeScalar([tag, number]: readonly [string, number], value: PbfWriter): void {
  value.writeStringField(1, tag);
  value.writeFloatField(2, number);
}

/** A string tensor of shape [1] that the text plugin shows as Markdown. */
function writeText({ tag, text }: { tag: string; text: string }, value: PbfWriter): void {
  value.writeStringField(1, tag);
  value.writeMessage(8, writeStringTensor, text);
  value.writeMessage(9, writeTextPlugin, null);
}

function writeStringTensor(text: string, tensor: PbfWriter): void {
  const string = 7;
  tensor.writeVarintField(1, string);
  tensor.writeMessage(2, writeShapeOfOne, null);
  tensor.writeStringField(8, text);
}

function writeShapeOfOne(_: null, shape: PbfWriter): void {
  shape.writeMessage(2, (_size: null, dimension) => dimension.writeVarintField(1, 1), null);
}

function writeTextPlugin(_: null, metadata: PbfWriter): void {
  metadata.writeMessage(1, (name: string, plugin) => plugin.writeStringField(1, name), "text");
}

import { createReadStream } from "node:fs";
import { TextDecoder } from "node:util";
import { throwIfAborted } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";

/** Longer lines are refused: a rollout of a million tokens with four lists takes about 60 MiB. */
const MAX_LINE_BYTES = 2 ** 28;

interface FileLine {
  /** Counts from 1. */
  line: number;
  text: string;
  ended: boolean;
}

/**
 * The lines of a file that are not blank, with their numbers; one line in memory at a time. A byte
 * order mark is left out. The last line may lack its end: then it is not `ended`.
 *
 * @throws FiresteelError ERR_OPTION where the file cannot be read, ERR_RANGE for a line over 256 MiB,
 *   ERR_ABORTED
 */
export async function* fileLines(path: string, signal?: AbortSignal): AsyncGenerator<FileLine> {
  let line = 0;
  let parts: Buffer[] = [];
  let bytes = 0;
  const decoder = new TextDecoder("utf-8");
  const take = (ended: boolean) => {
    const text = decoder.decode(Buffer.concat(parts));
    [parts, bytes] = [[], 0];
    line += 1;
    return { line, text, ended };
  };
  const stream = createReadStream(path, { highWaterMark: 2 ** 20 });
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      let begin = 0;
      for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, begin)) {
        parts.push(chunk.subarray(begin, end));
        begin = end + 1;
        throwIfAborted(signal, "Reading");
        const taken = take(true);
        if (taken.text.trim() !== "") yield taken;
      }
      throwIfAborted(signal, "Reading");
      parts.push(chunk.subarray(begin));
      bytes += chunk.length - begin;
      if (bytes > MAX_LINE_BYTES) {
        throw new FiresteelError(
          "ERR_RANGE",
          `line ${line + 1}: Expected at most 256 MiB in a line`,
        );
      }
    }
  } catch (cause) {
    if (cause instanceof FiresteelError) throw cause;
    const message = `Expected a readable file but ${path}: ${(cause as Error).message}`;
    throw new FiresteelError("ERR_OPTION", message, { cause });
  } finally {
    stream.destroy();
  }
  const last = take(false);
  if (last.text.trim() !== "") yield last;
}

import type { IncomingMessage } from "node:http";
import { Refusal } from "./refusal.js";

/**
 * The JSON object of a request's body.
 *
 * @param maxBytes refuses longer ones with 413, without keeping them
 */
export async function readBody(
  request: IncomingMessage,
  maxBytes: number,
): Promise<Record<string, unknown>> {
  const type = request.headers["content-type"]?.split(";")[0]?.trim().toLowerCase();
  const encoding = request.headers["content-encoding"] ?? "identity";
  // A page in a browser can post without asking first, but not with this type.
  if (type !== "application/json" || encoding !== "identity") {
    const message = "Expected a body of content-type application/json, not encoded";
    throw new Refusal(415, message, { code: "unsupported_media_type" });
  }
  const bytes = await readBytes(request, maxBytes);
  let body: unknown;
  try {
    body = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    const message = `Expected JSON in UTF-8 for the body: ${(cause as Error).message}`;
    throw new Refusal(400, message, { code: "invalid_json" });
  }
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw new Refusal(400, "Expected a JSON object for the body", { code: "invalid_json" });
  }
  return body as Record<string, unknown>;
}

async function readBytes(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const tooLong = () => {
    // What still comes is read and dropped, so that the answer can be read.
    request.resume();
    const message = `Expected a body of at most ${maxBytes} bytes`;
    const headers = { connection: "close" };
    return new Refusal(413, message, { code: "body_too_large", headers });
  };
  if (Number(request.headers["content-length"] ?? 0) > maxBytes) throw tooLong();
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const take = (chunk: Buffer) => {
      length += chunk.length;
      if (length <= maxBytes) {
        chunks.push(chunk);
        return;
      }
      request.off("data", take);
      reject(tooLong());
    };
    request.on("data", take);
    request.once("end", () => resolve(Buffer.concat(chunks)));
    request.once("error", reject);
    request.once("close", () => reject(new Refusal(400, "The body ended early", { code: "body" })));
  });
}

import { z } from "zod";
import { FiresteelError } from "../engine/error.js";
import { badParameter, Refusal, sendJson } from "./refusal.js";
import { readBody } from "./requestBody.js";
import type { WeightStore } from "./servedWeights.js";
import type { Routes } from "./server.js";

const expectedWeights = z.strictObject({
  version: z.number().int().min(0).optional(),
  fingerprint: z.string().optional(),
});

/** Everything but completions. */
export function otherRoutes(store: WeightStore, model: string, maxBodyBytes: number): Routes {
  const created = Math.floor(Date.now() / 1000);
  const describe = () => {
    const { current } = store;
    const config = current?.policy.config;
    return {
      id: model,
      object: "model",
      created,
      owned_by: "firesteel",
      max_model_len: config?.maxLength ?? null,
      vocab_size: config?.vocabSize ?? null,
      weight_version: current?.version ?? null,
      system_fingerprint: current?.fingerprint ?? null,
    };
  };
  const loaded = () => ({
    weight_version: store.current?.version ?? null,
    system_fingerprint: store.current?.fingerprint ?? null,
  });

  return {
    "/v1/models": {
      GET: (_, response) => sendJson(response, 200, { object: "list", data: [describe()] }),
    },
    [`/v1/models/${encodeURIComponent(model)}`]: {
      GET: (_, response) => sendJson(response, 200, describe()),
    },
    "/v1/chat/completions": {
      POST() {
        const message =
          "This policy has no chat template; POST /v1/completions with the whole text as prompt";
        throw new Refusal(404, message, { code: "no_chat_template" });
      },
    },
    /** Loads what the directory holds now; where the body says what that should be, 409 for others. */
    "/v1/weights": {
      async POST(request, response) {
        const body = await readBody(request, maxBodyBytes);
        const parsed = expectedWeights.safeParse(body);
        if (!parsed.success) {
          const param = parsed.error.issues[0]?.path[0];
          throw badParameter(
            String(param ?? "body"),
            "Expected { version, fingerprint }, each of which may be left out",
          );
        }
        await load(store);
        const { version, fingerprint } = parsed.data;
        const { current } = store;
        const other =
          current === null ||
          (version !== undefined && version !== current.version) ||
          (fingerprint !== undefined && fingerprint !== current.fingerprint);
        if (!other) return sendJson(response, 200, describe());
        const name = (weights: { version?: number; fingerprint?: string | null }) =>
          `${weights.version ?? "of any version"} (${weights.fingerprint ?? "any bytes"})`;
        const held = current === null ? "none" : name(current);
        const message = `Expected weights ${name(parsed.data)} in ${store.directory} but it holds ${held}`;
        throw new Refusal(409, message, { code: "other_weights" });
      },
    },
    "/health": {
      GET(_, response) {
        const ready = store.current !== null;
        sendJson(response, ready ? 200 : 503, { status: ready ? "ok" : "no weights", ...loaded() });
      },
    },
  };
}

/** Damaged weights are refused; those before stay. */
async function load(store: WeightStore): Promise<void> {
  try {
    await store.load();
  } catch (cause) {
    if (!(cause instanceof FiresteelError)) throw cause;
    throw new Refusal(422, cause.message, { code: "bad_weights" });
  }
}

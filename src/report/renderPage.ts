import { createHash } from "node:crypto";
import type { PageSources } from "./pageSources.js";
import type { RunData } from "./runData.js";

/**
 * The page of a run: one file that fetches nothing. A content security policy names its own scripts and
 * styles by their hashes, so that whatever else a rollout may hold is not run.
 */
export function renderPage(data: RunData, { html, styles, scripts }: PageSources): string {
  const style = styles.join("\n");
  const [chartLibrary, ...own] = scripts;
  const script = [
    '"use strict";',
    chartLibrary,
    "const report = {};",
    ...own.map((text) => `{\n${text}}`),
  ].join("\n");
  const policy = [
    "default-src 'none'",
    `script-src '${hashOf(script)}'`,
    `style-src '${hashOf(style)}'`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  const parts: Record<string, string> = {
    policy,
    title: escapeText(data.name),
    style: `<style>${style}</style>`,
    data: `<script type="application/json" id="data">${escapeJson(JSON.stringify(data))}</script>`,
    script: `<script>${script}</script>`,
  };
  return html.replaceAll(
    /<!-- (\w+) -->|%(policy|title)%/g,
    (_, block, inline) => parts[block ?? inline] ?? "",
  );
}

const hashOf = (text: string) => `sha256-${createHash("sha256").update(text).digest("base64")}`;

function escapeText(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}

/** JSON that no HTML parser sees markup in and every JavaScript parser reads. */
function escapeJson(json: string): string {
  const escapes = { "<": "\\u003c", "\u2028": "\\u2028", "\u2029": "\\u2029" };
  return json.replaceAll(/[<\u2028\u2029]/g, (found) => escapes[found as keyof typeof escapes]);
}

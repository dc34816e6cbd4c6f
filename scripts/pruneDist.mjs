// Removes from dist what no source stands behind any more, so that it is not packed.
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const dist = join(root, "dist");
const files = existsSync(dist) ? readdirSync(dist, { recursive: true, encoding: "utf8" }) : [];
for (const name of files) {
  const source = /^(.*?)(\.d)?\.(js|ts)$/.exec(name)?.[1];
  const stale = source !== undefined && !existsSync(join(root, "src", `${source}.ts`));
  if (stale || name.endsWith(".map")) rmSync(join(dist, name));
}

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";
import type { Browser } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findChromium, launch } from "../browser/chromium.js";
import { root } from "./snippets.js";

const site = join(root, "docs", ".vitepress", "dist");

function run(command: string, ...args: readonly string[]) {
  const env = { ...process.env, NO_COLOR: "1", NODE_ENV: "production" };
  const bin = join(root, "node_modules", ".bin", command);
  const { status, stdout, stderr } = spawnSync(bin, args, { cwd: root, env, encoding: "utf8" });
  return { status, said: `${stdout}${stderr}` };
}

/** Every page of the site with what it holds, by its path. */
const pages = new Map<string, { ids: Set<string>; html: string }>();

const values = (html: string, attribute: string) =>
  [...html.matchAll(new RegExp(`\\s${attribute}="([^"]*)"`, "g"))].map(([, value]) => value!);

beforeAll(() => {
  // Both fail where something is wrong: typedoc for a public name without a docstring or a link to
  // nothing, vitepress for a dead link.
  for (const [command, ...args] of [["typedoc"], ["vitepress", "build", "docs"]] as const) {
    const { status, said } = run(command, ...args);
    expect(status, said).toBe(0);
  }
  for (const name of readdirSync(site, { recursive: true, encoding: "utf8" })) {
    if (!name.endsWith(".html")) continue;
    const html = readFileSync(join(site, name), "utf8");
    pages.set(`/${name}`, { html, ids: new Set(values(html, "id")) });
  }
}, 300_000);

test("every link within the site leads somewhere, to the heading that it names", () => {
  const dead: string[] = [];
  for (const [page, { html }] of pages) {
    for (const href of new Set(values(html, "href"))) {
      if (/^[a-z]+:/.test(href)) continue;
      const { pathname, hash } = new URL(href, `http://site${page}`);
      const file = pathname.endsWith("/") ? `${pathname}index.html` : pathname;
      const target = pages.get(file) ?? pages.get(`${file}.html`);
      const there = target !== undefined || existsSync(join(site, decodeURIComponent(file)));
      const id = decodeURIComponent(hash.slice(1));
      if (!there || (id !== "" && target !== undefined && !target.ids.has(id))) {
        dead.push(`${page}: ${href}`);
      }
    }
  }
  expect(dead).toEqual([]);
});

test("pages fetch nothing from elsewhere", () => {
  for (const [page, { html }] of pages) {
    const fetched = [...values(html, "src"), ...html.matchAll(/<link[^>]* href="([^"]*)"/g)]
      .map((found) => (typeof found === "string" ? found : found[1]!))
      .filter((url) => /^(https?:)?\/\//.test(url));
    expect(fetched, page).toEqual([]);
  }
});

test("the API has every entry point", () => {
  const all = [...pages].filter(([page]) => page.startsWith("/api/")).map(([, { html }]) => html);
  for (const name of ["firesteel", "firesteel/blocks", "firesteel/nn"]) {
    expect(all.some((html) => html.includes(`From <code>${name}</code>`))).toBe(true);
  }
});

const chromium = findChromium();
if (chromium === null) console.log("the site is not looked at in a browser: there is none");

describe.skipIf(chromium === null)("in a browser", () => {
  const types: Record<string, string> = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
  };
  let server: Server;
  let browser: Browser;

  beforeAll(async () => {
    server = createServer(({ url = "/" }, response) => {
      const path = decodeURIComponent(new URL(url, "http://site").pathname);
      const file = join(site, path.endsWith("/") ? `${path}index.html` : path);
      if (!existsSync(file)) return response.writeHead(404).end();
      response.setHeader("content-type", types[extname(file)] ?? "application/octet-stream");
      response.end(readFileSync(file));
    }).listen(0, "127.0.0.1");
    await new Promise((listening) => server.once("listening", listening));
    browser = await launch(chromium!);
  });
  afterAll(async () => {
    await browser?.close();
    server?.close();
  });

  test.each([1280, 390])(
    "%i pixels wide: pages do not overflow, nothing complains",
    async (width) => {
      const { port } = server.address() as AddressInfo;
      const page = await browser.newPage();
      const complaints: string[] = [];
      page.on("pageerror", (error) => complaints.push((error as Error).message));
      page.on("console", (message) => {
        if (message.type() === "error") complaints.push(message.text());
      });
      page.on("request", (request) => {
        const { protocol, hostname } = new URL(request.url());
        if (protocol !== "data:" && hostname !== "127.0.0.1") complaints.push(request.url());
      });
      await page.setViewport({ width, height: 900 });
      for (const path of [
        "/",
        "/quick-start.html",
        "/systems.html",
        "/kernels.html",
        "/api/Loss-kernels.html",
      ]) {
        await page.goto(`http://127.0.0.1:${port}${path}`, { waitUntil: "networkidle0" });
        const over = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
        if ((over as number) > 0) complaints.push(`${path} is ${over} pixels too wide`);
      }
      await page.close();
      expect(complaints).toEqual([]);
    },
  );
});

import fs from "node:fs";
import fsp from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { dirname, join, resolve, sep } from "node:path";

/**
 * Every change of files below a folder, one operation after the other, as this process makes them through
 * node:fs/promises: what node does in one call but the system in several (writeFile, a recursive rm) is taken
 * apart. Reads are let through.
 *
 * @param root below which operations are seen
 * @param perform is given each operation, `run` that does it and, for a write, `half` that does half of it;
 *   what it returns or throws is the operation's. Operations: {index, kind, path}, and `to` of a rename or
 *   link, `target` of a symlink, `flags` of an open, `data` of a write
 * @returns what puts node's own functions back
 */
export async function watchFiles(root, perform) {
  const below = (path) =>
    typeof path === "string" && `${resolve(path)}${sep}`.startsWith(`${resolve(root)}${sep}`);
  const original = { ...fsp };
  const handles = new WeakMap();
  let index = 0;
  const during = (kind, path, run, more = {}, half = run) =>
    perform({ index: index++, kind, path: resolve(path), ...more }, run, half);

  const open = async (path, flags = "r", mode) => {
    const plain = () => original.open(path, flags, mode);
    if (!below(path)) return plain();
    const handle = await (flags === "r" ? plain() : during("open", path, plain, { flags }));
    handles.set(handle, resolve(path));
    return handle;
  };
  const writeAll = (handle, path, data) => {
    const bytes =
      typeof data === "string"
        ? Buffer.from(data)
        : Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    const put = async (part) => {
      for (let done = 0; done < part.length; ) {
        done += (await methods.write.call(handle, part, done, part.length - done, null))
          .bytesWritten;
      }
    };
    const half = () => put(bytes.subarray(0, bytes.length >> 1));
    return during("write", path, () => put(bytes), { data: Buffer.from(bytes) }, half);
  };
  const writeWith = (defaultFlag) => async (path, data, options) => {
    if (!below(path))
      return original[defaultFlag === "w" ? "writeFile" : "appendFile"](path, data, options);
    const handle = await open(path, defaultFlag);
    try {
      await writeAll(handle, path, data);
    } finally {
      await handle.close();
    }
  };
  const two =
    (name) =>
    async (from, to, ...rest) => {
      const run = () => original[name](from, to, ...rest);
      return below(to) ? during(name, from, run, { to: resolve(to) }) : run();
    };
  const symlink = async (target, path, type) => {
    const run = () => original.symlink(target, path, type);
    return below(path) ? during("symlink", path, run, { target }) : run();
  };
  const rm = async (path, options = {}) => {
    if (!below(path)) return original.rm(path, options);
    const found = await original.lstat(path).catch(() => null);
    if (found === null) {
      if (options.force) return;
      return original.rm(path, options);
    }
    if (!found.isDirectory()) return during("unlink", path, () => original.unlink(path));
    for (const entry of await original.readdir(path)) await rm(join(path, entry), options);
    await during("rmdir", path, () => original.rmdir(path));
  };
  const mkdir = async (path, options) => {
    if (!below(path)) return original.mkdir(path, options);
    if (options?.recursive && fs.existsSync(path)) return;
    if (options?.recursive && !fs.existsSync(dirname(path))) await mkdir(dirname(path), options);
    await during("mkdir", path, () => original.mkdir(path));
  };

  const probe = await original.open(process.execPath, "r");
  const prototype = Object.getPrototypeOf(probe);
  await probe.close();
  const methods = Object.fromEntries(
    ["write", "writeFile", "sync", "truncate"].map((name) => [name, prototype[name]]),
  );
  const through = (name, act) =>
    function (...args) {
      const path = handles.get(this);
      return path === undefined ? methods[name].apply(this, args) : act(this, path, args);
    };
  Object.assign(prototype, {
    write: through("write", (handle, path, [data]) => writeAll(handle, path, data)),
    writeFile: through("writeFile", (handle, path, [data]) => writeAll(handle, path, data)),
    sync: through("sync", (handle, path) => during("sync", path, () => methods.sync.call(handle))),
    truncate: through("truncate", (handle, path) =>
      during("truncate", path, () => methods.truncate.call(handle)),
    ),
  });
  Object.assign(fsp, {
    ...{ open, rm, mkdir, symlink, writeFile: writeWith("w"), appendFile: writeWith("a") },
    ...Object.fromEntries(["rename", "link"].map((name) => [name, two(name)])),
  });
  syncBuiltinESMExports();
  return () => {
    Object.assign(prototype, methods);
    Object.assign(fsp, original);
    syncBuiltinESMExports();
  };
}

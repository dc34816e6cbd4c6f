import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, sep } from "node:path";

/**
 * A disk as POSIX lets it be after a loss of power: what a file held at its last sync is there; what was
 * written since is not, or half of it, or zeros in its place. Names made, moved or removed in a folder last
 * from the folder's own sync on; before, each of them may or may not have come to the disk, in whatever
 * order. Not modelled: sectors torn within, disks that lie about a sync.
 */
export class Disk {
  #root;
  #top;

  /** @param root which stands, synced, before the first operation */
  constructor(root) {
    this.#root = root;
    this.#top = folder();
  }

  /** Takes in an operation of `watchFiles`, in their order. */
  apply({ kind, path, to, target, flags, data }) {
    const [into, name] = [this.#find(dirname(path)), path.slice(dirname(path).length + 1)];
    const node = into?.names.get(name);
    if (kind === "open") {
      if (node === undefined)
        change(into, { add: [[name, { data: [], synced: Buffer.alloc(0) }]] });
      else if (flags === "w") node.data = [];
    } else if (kind === "write") node.data.push(data);
    else if (kind === "truncate") node.data = [];
    else if (kind === "mkdir") change(into, { add: [[name, folder()]] });
    else if (kind === "unlink" || kind === "rmdir") change(into, { remove: [name] });
    else if (kind === "sync") this.#sync(path === this.#root ? this.#top : node);
    else if (kind === "symlink") change(into, { add: [[name, { target }]] });
    else if (kind === "link") this.#add(to, node);
    else if (kind === "rename") {
      const other = this.#find(dirname(to));
      if (other !== into) throw new Error("moves between folders are not modelled");
      const names = [[to.slice(dirname(to).length + 1), node]];
      change(into, { remove: [name], add: names });
    } else throw new Error(`unknown operation ${kind}`);
  }

  /**
   * Writes down what may be found after a loss of power now.
   *
   * @param at an empty folder
   * @param keepName whether the i-th change of names since a folder's last sync is there
   * @param content of a file that has changed since its last sync: "synced", "whole", "half" or "zeros"
   */
  writeDown(at, keepName, content) {
    const put = (node, path) => {
      if (node.target !== undefined) return symlinkSync(node.target, path);
      if (node.data !== undefined) return writeFileSync(path, bytesOf(node, content()));
      mkdirSync(path, { recursive: true });
      const names = new Map(node.synced);
      for (const [i, entry] of node.changes.entries()) if (keepName(i)) play(names, entry);
      for (const [name, child] of names) put(child, join(path, name));
    };
    put(this.#top, at);
  }

  #find(path) {
    let node = this.#top;
    for (const name of path.slice(this.#root.length).split(sep)) {
      if (name !== "") node = node?.names?.get(name);
    }
    return node;
  }

  #add(path, node) {
    change(this.#find(dirname(path)), { add: [[path.slice(dirname(path).length + 1), node]] });
  }

  #sync(node) {
    if (node.data !== undefined) {
      node.synced = Buffer.concat(node.data);
      node.data = [node.synced];
    } else {
      node.synced = new Map(node.names);
      node.changes = [];
    }
  }
}

/** What a disk may hold at its worst, each in its own way; then at random. */
export const losses = {
  "names and contents": { keepName: () => false, content: () => "synced" },
  "the first name": { keepName: (i) => i > 0, content: () => "whole" },
  contents: { keepName: () => true, content: () => "synced" },
  "contents, zeros in their place": { keepName: () => true, content: () => "zeros" },
  "half of the contents": { keepName: () => true, content: () => "half" },
};

/** @param uniform numbers in [0, 1) */
export function randomLoss(uniform) {
  const contents = ["synced", "whole", "half", "zeros"];
  return { keepName: () => uniform() < 0.5, content: () => contents[Math.floor(4 * uniform())] };
}

function folder() {
  return { names: new Map(), synced: new Map(), changes: [] };
}

function change(into, entry) {
  play(into.names, entry);
  into.changes.push(entry);
}

function play(names, { remove = [], add = [] }) {
  for (const name of remove) names.delete(name);
  for (const [name, node] of add) names.set(name, node);
}

function bytesOf({ data, synced }, content) {
  const whole = Buffer.concat(data);
  if (content === "whole" || whole.equals(synced)) return whole;
  if (content === "synced") return synced;
  if (content === "zeros")
    return Buffer.concat([synced, Buffer.alloc(Math.max(0, whole.length - synced.length))]);
  return whole.subarray(0, Math.max(Math.min(synced.length, whole.length), whole.length >> 1));
}

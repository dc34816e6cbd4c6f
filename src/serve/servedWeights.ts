import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Engine } from "../engine/engine.js";
import { FiresteelError } from "../engine/error.js";
import { openTokenPolicy } from "../policies/openPolicy.js";
import type { TokenPolicy } from "../policies/token/tokenPolicy.js";
import {
  checkPublished,
  type PublishedWeights,
  publishedWeights,
} from "../weights/publishedWeights.js";

/** A policy in memory, for as long as somebody samples from it. */
export interface ServedWeights {
  readonly policy: TokenPolicy;
  /** Optimiser steps that they have seen; 0 for a folder that says nothing of it. */
  readonly version: number;
  /** Of their bytes; null for a folder that was not published. */
  readonly fingerprint: string | null;
}

/** The weights of a directory: published ones (`weights.json`), or a policy as `Policy.save` writes it. */
export class WeightStore {
  readonly directory: string;
  readonly #engine: Engine;
  readonly #users = new Map<ServedWeights, number>();
  #current: ServedWeights | null = null;
  #loading: Promise<unknown> = Promise.resolve();

  constructor(engine: Engine, directory: string) {
    this.#engine = engine;
    this.directory = directory;
  }

  /** What new requests get; null: nothing has been published yet. */
  get current(): ServedWeights | null {
    return this.#current;
  }

  /** The current weights, kept in memory until they are released. */
  acquire(): ServedWeights | null {
    if (this.#current !== null) this.#use(this.#current, 1);
    return this.#current;
  }

  release(weights: ServedWeights): void {
    this.#use(weights, -1);
  }

  /**
   * Loads what the directory holds now, unless it is loaded. Whatever is being sampled goes on with the
   * weights it began with.
   *
   * @throws FiresteelError ERR_CHECKPOINT where they are damaged: the weights before stay
   */
  load(): Promise<void> {
    const loaded = this.#loading.then(() => this.#load());
    this.#loading = loaded.catch(() => {});
    return loaded;
  }

  async #load(): Promise<void> {
    for (;;) {
      const published = await publishedWeights(this.directory);
      if (published === null) return this.#loadPlain();
      const { version, fingerprint } = published;
      const current = this.#current;
      if (version === current?.version && fingerprint === current.fingerprint) return;
      try {
        this.#replace({ policy: await this.#open(published), version, fingerprint });
        return;
      } catch (error) {
        // Newer ones may have taken their place while they were read.
        if ((await publishedWeights(this.directory))?.folder === published.folder) throw error;
      }
    }
  }

  async #open(published: PublishedWeights): Promise<TokenPolicy> {
    await checkPublished(published);
    return openTokenPolicy(this.#engine, published.folder);
  }

  /** A folder that holds one policy is read once: nothing would say when it is whole again. */
  async #loadPlain(): Promise<void> {
    if (this.#current !== null || !existsSync(join(this.directory, "config.json"))) return;
    const policy = await openTokenPolicy(this.#engine, this.directory);
    this.#replace({ policy, version: 0, fingerprint: null });
  }

  #replace(weights: ServedWeights | null): void {
    const before = this.#current;
    this.#current = weights;
    if (weights !== null) this.#use(weights, 1);
    if (before !== null) this.#use(before, -1);
  }

  #use(weights: ServedWeights, change: 1 | -1): void {
    const users = (this.#users.get(weights) ?? 0) + change;
    if (users > 0) {
      this.#users.set(weights, users);
      return;
    }
    this.#users.delete(weights);
    weights.policy.dispose();
  }

  /** @throws FiresteelError ERR_CHECKPOINT where there is nothing to serve */
  requireCurrent(): void {
    if (this.#current !== null) return;
    const message = `Expected a policy, a run or published weights in ${this.directory} but there are none`;
    throw new FiresteelError("ERR_CHECKPOINT", message);
  }

  /** Once nobody samples any more. */
  async dispose(): Promise<void> {
    await this.#loading;
    this.#replace(null);
  }
}

import type { Task } from "../contract/task.js";
import { arithmetic } from "./arithmetic/index.js";
import { flow2d } from "./flow2d.js";

/** Every task that comes with firesteel, by id. */
export const tasks: Readonly<Record<string, Task>> = Object.freeze({
  [arithmetic.id]: arithmetic,
  [flow2d.id]: flow2d,
});

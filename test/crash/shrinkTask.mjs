// Given to `node --import`: the embedded task becomes a tiny one, for the command line too.
import { tasks } from "../../dist/index.js";
import { tinyTask } from "./tinyTask.mjs";

Object.assign(tasks.arithmetic, tinyTask(tasks.arithmetic));

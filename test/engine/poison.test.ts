import { afterAll, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { add } from "../../src/engine/nn/elementwise.js";
import { handleOf, type Tensor } from "../../src/engine/tensor.js";

const engine = new Engine({ device: "cpu", threads: 2 });
afterAll(() => engine.dispose());

/** A call that the addon accepts and the kernel refuses when it runs: a head of 1,024. */
function breakAt(output: Tensor): void {
  const input = engine.zeros([1, 1, 1024]);
  const positions = engine.zeros([1], "i32");
  const handles = [positions, input, output].map((tensor) => handleOf(tensor, "rope"));
  engine.addon.rope(engine.handle, 0, 1, 1, 1024, 1e4, false, ...handles);
}

it("what a failed call should have written throws its error, with all that comes of it", async () => {
  const broken = engine.zeros([1024]);
  const whole = engine.tensor(new Float32Array(1024).fill(1));
  breakAt(broken);
  const derived = add(engine, add(engine, broken, whole), whole);
  const other = add(engine, whole, whole);
  const error = { code: "ERR_RANGE", message: expect.stringMatching(/^rope: .*512/) };
  await expect(broken.read()).rejects.toMatchObject(error);
  await expect(derived.read()).rejects.toMatchObject(error);
  await expect(broken.rows(0, 1).read()).rejects.toMatchObject(error);
  expect(() => derived.readSync()).toThrow(expect.objectContaining(error));
  expect((await other.read())[0]).toBe(2);
  await engine.synchronize();
});

it("writing all of it makes it usable again, writing a part does not", async () => {
  const tensor = engine.zeros([1024]);
  breakAt(tensor);
  tensor.rows(0, 512).write(new Float32Array(512));
  await expect(tensor.read()).rejects.toMatchObject({ code: "ERR_RANGE" });
  tensor.write(new Float32Array(1024).fill(3));
  expect((await tensor.read())[1023]).toBe(3);
});

it("memory of a failed call that is used again holds no failure", () => {
  for (let i = 0; i < 4; ++i) {
    const tensor = engine.empty([1024]);
    breakAt(tensor);
    tensor.dispose();
    expect(engine.zeros([1024]).readSync()[5]).toBe(0);
  }
});

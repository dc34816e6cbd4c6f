/** Cases of weights that are averaged. */
export function weights(engine, { mixWeights }) {
  return {
    async ema({ ref, cur, decay = 0.995 }) {
      const [reference, current] = [ref, cur].map((values) => {
        return engine.tensor(Float32Array.from(values));
      });
      try {
        mixWeights(engine, reference, current, 1 - decay);
        return [...(await reference.read())];
      } finally {
        reference.dispose();
        current.dispose();
      }
    },
  };
}

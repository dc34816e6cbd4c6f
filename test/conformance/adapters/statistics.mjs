/** Cases of plain statistics. */
export function statistics(_, { tQuantile }) {
  return { t_quantile: ({ p, df }) => tQuantile(p, df) };
}

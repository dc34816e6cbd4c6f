/** A part of a metric, from one minibatch or micro-batch; parts of one name are merged. */
export type Measure =
  /** sum / count; null when the count is 0. */
  | { kind: "mean"; sum: number; count: number }
  | { kind: "min"; value: number }
  | { kind: "max"; value: number };

/** What a step reports, by TRL's names. What does not exist is null, never NaN. */
export type Metrics = Record<string, number | null>;

/** Takes parts of metrics from stages. */
export type Measurer = (name: string, measure: Measure) => void;

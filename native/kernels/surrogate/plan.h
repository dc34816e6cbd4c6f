// What the loops over tokens read besides the tokens: the call's plan, which follows from its
// arguments, and what the tokens of a unit and of its row share. Plain data, because per-ISA
// objects read it too; unit.h makes it.
#pragma once
#include <stdint.h>

#include "kernels/surrogate/options.h"

namespace firesteel {

struct SurrogatePlan : SurrogateTerms {
  // Inputs that are given.
  bool old, reference, sampler, weighted, normalised, entropies;
  // Whether the tokens of a unit share one ratio, and whether the gradient is spread over the unit.
  bool shares_ratio, pools;
  // Sums over units or rows that have to be known before any loss: of the log-ratio, the log
  // mismatch weight, vespo's corrections, the distance from the sampler.
  bool sums_log_ratio, sums_mismatch, sums_correction, sums_off_policy;
  // The logs of mismatch_low and mismatch_high, each as a float and what it lacks.
  float log_mismatch_low, log_mismatch_low_rest, log_mismatch_high, log_mismatch_high_rest;
};

// Over trained tokens. Segments have these sums of their own, rows all of them.
struct SurrogateStatistics {
  double trained;
  double log_ratio;   // as gmpo and vespo clip it
  double mismatch;    // log (p_old / p_sampler)
  double correction;  // the same as vespo adds it
  double off_policy;  // log (p_sampler / p)
};

// Losses of tokens stay below, so that a few of them may be added up in float.
constexpr float kLargestLoss = 0x1p125f;
// Half of the largest float: both parts of a pooled token's gradient stay below, so that their sum
// is finite.
constexpr float kLargestPart = 0x1p127f;

struct SurrogateUnit {
  double coefficient;                // of the row's token losses in the loss
  double entropy;                    // d loss / d entropy of the row's tokens
  float ratio;                       // shared by the tokens; 1 where the loss has no ratio
  float phi_positive, phi_negative;  // vespo's weight where A >= 0 and where A < 0
  float mismatch;                    // the row's weight; geometric_mask: 1 or 0
  // What every token that moves the shared ratio gets: the coefficient times the sum of pulls, or
  // times their mean.
  float share;
  bool shaped;
  bool mismatch_changed;
  bool off_policy;  // drops the policy loss of tokens with A < 0
  bool failed;      // nothing of the unit contributes
};

}  // namespace firesteel

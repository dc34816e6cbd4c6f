// bernoulli: log-probs, entropies and KL of independent yes-or-no actions, such as the edges of a
// graph, with their sums over ragged rows (graphs).
//
//   z = logit / temperature, p = sigmoid(z), q = sigmoid(reference logit / temperature)
//   log_prob = log p where the action is 1, log(1 - p) where it is 0
//   entropy  = -p log p - (1 - p) log(1 - p)
//   kl       = p log(p / q) + (1 - p) log((1 - p) / (1 - q))
//
// Masked edges (mask 0) are selected away: their outputs and gradients are exactly 0. A NaN logit
// or an action above 1 makes the outputs of its edge NaN and its gradient 0, a NaN reference logit
// the edge's kl, which then has no gradient; the sums of the row are NaN with them. Infinite logits
// are legal (probability 0 or 1): log_prob may be -inf. Where the reference gives 0 to what the
// policy can do, kl is +inf and has no gradient. NaN and that are recorded as faults of the row:
// not_a_number, id_out_of_range (the action), no_support.
//
// Everything is float64, rounded once to float; row sums add the rounded values in float64 in an
// order that the row's length alone decides. Accuracy: 1e-7 relative, also where both policies
// nearly agree; absolute below 2^-126.
#pragma once
#include <stdint.h>

#include "runtime/fault.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

struct BernoulliArgs {
  int64_t edges, rows;
  const int32_t* row_offsets;  // [R + 1]
  const float* logits;         // [E]
  const float* ref_logits;     // [E], or null where kl is
  const uint8_t* actions;      // [E] 0 or 1
  const uint8_t* mask;         // [E] or null
  double temperature;          // > 0, finite
  float* log_prob;             // [E] out
  float* entropy;              // [E] out, or null
  float* kl;                   // [E] out, or null
  double* row_log_prob;        // [R] out
  double* row_entropy;         // [R] out, or null where entropy is
  double* row_kl;              // [R] out, or null where kl is
  FaultWord* faults;
};
Status bernoulli_forward(Context&, const BernoulliArgs&);

struct BernoulliBackwardArgs {
  int64_t edges;
  const float* logits;  // as forward
  const float* ref_logits;
  const uint8_t* actions;
  const uint8_t* mask;
  double temperature;
  const float* d_log_prob;  // [E]
  const float* d_entropy;   // [E] or null
  const float* d_kl;        // [E] or null; needs ref_logits
  float* d_logits;          // [E] out
};
Status bernoulli_backward(Context&, const BernoulliBackwardArgs&);

}  // namespace firesteel

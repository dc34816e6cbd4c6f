// surrogate's gradients on the CPU, some tokens at a time: for losses whose gradient at a token
// depends on its own current log-prob alone (is_token_local), and whoever has log-probs piece by
// piece.
#pragma once
#include "kernels/surrogate/plan.h"
#include "kernels/surrogate/surrogate.h"

namespace firesteel {

// What the tokens of each row share, [R]: made of mask, offsets and the log-probs of the old policy
// and the sampler. Uses the arguments' workspace, looks at no outputs and at no current log-probs.
Status surrogate_units(Context&, const SurrogateArgs&, SurrogateUnit* units);

// Writes d_log_prob and the other outputs of tokens begin .. end of a row, with the bits of
// surrogate. Returns how many of them are faults, and records none.
int64_t surrogate_gradients(const SurrogateArgs&, const SurrogatePlan&, const SurrogateUnit&,
                            int64_t row, int64_t begin, int64_t end);

}  // namespace firesteel

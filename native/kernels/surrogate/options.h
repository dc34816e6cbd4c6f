// The choices of a surrogate call. Apart from surrogate.h because per-ISA objects read it too, and
// nothing of the C++ library may reach those.
#pragma once
#include <stdint.h>

namespace firesteel {

// All values are part of the addon's protocol with src/engine/surrogate.ts.
enum class RatioLevel : int32_t { token = 0 };
enum class SurrogateForm : int32_t { clip = 0 };
enum class KlEstimator : int32_t { k1 = 0, k2 = 1, k3 = 2, abs = 3, k3_plus = 4 };
// How token losses become one number. `denominator` 0 means: computed from the mask.
enum class Aggregation : int32_t {
  token_mean = 0,               // sum / trained tokens
  seq_mean_token_mean = 1,      // mean over active rows of the row's token mean
  seq_mean_token_sum = 2,       // mean over active rows of the row's token sum
  seq_mean_token_sum_norm = 3,  // as token_sum / horizon, mean over active rows
  token_sum = 4,                // plain sum (denominator 1 unless given)
};

// The scalars of a call as the per-token maths uses them.
struct SurrogateTerms {
  SurrogateForm form;
  KlEstimator kl;
  float low, high;  // the clip range of the ratio: 1 - epsilon_low, 1 + epsilon_high
  float delta, dual_clip;
  float beta;
  bool reference;  // a reference policy is given
};

}  // namespace firesteel

// The scalars of a surrogate call as the per-token maths uses them. Apart from surrogate.h because
// per-ISA objects read it too, and nothing of the C++ library may reach those.
#pragma once
#include "kernels/kl/estimators.h"
#include "kernels/surrogate/combinations.h"

namespace firesteel {

struct SurrogateTerms {
  SurrogateForm form;
  RatioLevel level;
  // The form's limits where they are not given per row or token: of the ratio (clip, cispo), of the
  // log-ratio (gmpo), of p - p_old (dppo_tv). Inclusive: gradient passes at a limit.
  float low, high;
  float delta;      // clip: cap of the ratio in the unclipped arm; +inf = none
  float dual_clip;  // clip: for A < 0 the loss is at most -dual_clip A; +inf = none
  float tau_positive, tau_negative;                                // sapo
  float ratio_cap;                                                 // dppo_tv
  float k_positive, lambda_positive, k_negative, lambda_negative;  // vespo
  float log_ratio_low, log_ratio_high;  // the log-ratio is clamped to it, gradient 0 outside
  float shape_gamma;                    // shaped rows: p / (p + gamma)
  bool shape_by_old;                    // p / (p_old + gamma) instead
  float beta;
  KlEstimator kl;
  bool kl_ratio;  // the KL is multiplied by the ratio, with gradient through it
  float kl_difference_limit, kl_value_limit;  // |d| and |value| clamped, gradient 0 outside; +inf
  Mismatch mismatch;
  float mismatch_low, mismatch_high;
  float off_policy_threshold;  // +inf = none
};

}  // namespace firesteel

// gaussian: log-probs and KL of Gaussians with one standard deviation a sample, and the steps of
// flow models that end in such a Gaussian. Samples are rows of `width` elements.
//
//   out[b] = mean or sum, over the valid elements d of sample b, of a term of
//            e = value[b, d] - mean[b, d]:
//     log_prob       -e^2 / (2 std[b]^2) - log std[b] - log(2 pi) / 2
//     kl             e^2 / (2 std[b]^2): KL of N(mean, std^2) and N(value, std^2), either way round
//     squared_error  -e^2
//
// Masked elements (mask 0) are selected away: whatever stands there changes nothing. A sample
// without valid elements gives 0. A valid element that is not finite, a difference that is not, or
// a std outside [1e-15, 1e15] is a fault of its sample: out is NaN, its gradient exactly 0, no
// other sample is touched.
//
// e is a float, its square a double; sums are float64 in an order that `width` alone decides: a
// sample's result does not depend on the other samples, the batch split or the number of threads.
//
// Accuracy against float64 of the same inputs: 2e-7 of the sum of the absolute terms, e^2 included.
#pragma once
#include <stdint.h>

#include "kernels/gaussian/terms.h"
#include "runtime/fault.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

struct GaussianScore {
  const float* std;  // [B]; squared_error reads it only to tell deterministic steps
  GaussianTerm term;
  GaussianReduction reduction;
  float* out;  // [B] out
  // [B] out: d out / d mean[b, d] = slope[b] (value - mean) at valid elements; NaN for a faulty
  // sample, 0 for one without valid elements
  double* slope;
  void* workspace;  // gaussian_workspace bytes
  FaultWord* faults;
};
int64_t gaussian_workspace(int64_t samples, int64_t width);

struct GaussianArgs {
  int64_t samples, width;     // >= 0; their product may exceed 2^31
  const float *value, *mean;  // [B, D]
  const uint8_t* mask;        // [B, D] or null
  GaussianScore score;
};
Status gaussian_forward(Context&, const GaussianArgs&);

// One step of a flow model: mean = x_scale x + v_scale v, next = mean + std noise, and the log-prob
// of next with value = next. The coefficients come from src/engine/kernels/flowCoefficients.ts. A
// step with std 0 is deterministic: next = mean, out and slope 0, noise not read.
//
// Where x, v, noise or next are not finite, mean and next hold what arithmetic gives, and the
// sample is faulty. Of a given next the same bits come out as when it was drawn.
//
// Accuracy: mean 2e-7 of |x_scale x| + |v_scale v|, next 3e-7 of that and |std noise|; out as
// above, given the mean that is returned.
struct FlowStepArgs {
  int64_t samples, width;
  const float *x, *v;              // [B, D] latent and predicted velocity
  const float *x_scale, *v_scale;  // [B]
  const float* noise;              // [B, D] or null: nothing is drawn, next = mean
  const float* given;              // [B, D] or null: next was drawn before (noise must be null)
  float* mean;                     // [B, D] out
  float* next;                     // [B, D] out, or null where given
  GaussianScore score;
};
Status flow_step(Context&, const FlowStepArgs&);

struct GaussianBackwardArgs {
  int64_t samples, width;
  const float *value, *mean;  // as forward
  const uint8_t* mask;        // [B, D] or null
  const double* slope;        // [B] of forward
  const float* d_out;         // [B]
  const float* d_mean;        // [B, D] or null: gradient with respect to mean from elsewhere
  const float* gain;          // [B] or null (1): the result is multiplied by it
  float* d_input;             // [B, D] out
};
// d_input = gain (d_out slope (value - mean) + d_mean). Masked elements and faulty samples get
// exact zeros. Of a flow step, gain = v_scale gives the gradient with respect to v.
Status gaussian_backward(Context&, const GaussianBackwardArgs&);

}  // namespace firesteel

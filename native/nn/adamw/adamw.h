// adamw: decoupled weight decay Adam (Loshchilov & Hutter 2019, alg. 2) with clipping by global
// norm. The norm stays on the device: sum_squares accumulates it over all gradients, adamw reads
// it.
#pragma once
#include <stdint.h>
#include "runtime/status.h"

namespace firesteel {

class Context;

// total[0] += sum x^2 in float64, fixed order.
struct SumSquaresArgs {
  int64_t count;
  const float* x;
  double* total;    // [1] in and out
  void* workspace;  // sum_squares_workspace bytes
};
int64_t sum_squares_workspace(int64_t count);
Status sum_squares(Context&, const SumSquaresArgs&);

struct AdamwArgs {
  int64_t count;
  float* param;       // [count] in and out
  const float* grad;  // [count]
  float *m, *v;       // [count] in and out
  float lr, beta1, beta2, eps, weight_decay;
  float correction1;          // 1 - beta1^step, computed by the caller in float64
  float correction2;          // 1 - beta2^step
  const double* grad_square;  // [1] squared global norm, or null (no clipping)
  float max_grad_norm;        // > 0: gradients are scaled by min(1, max / (norm + 1e-6))
};
// A norm that is not finite leaves parameters and moments as they are.
Status adamw(Context&, const AdamwArgs&);

}  // namespace firesteel

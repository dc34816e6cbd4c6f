// adamw: decoupled weight decay Adam (Loshchilov & Hutter 2019, alg. 2) with clipping by global
// norm, over several tensors in one launch: a transformer has hundreds, most of them small. The
// norm stays on the device: sum_squares accumulates it over all gradients, adamw reads it.
//
// Bytes per parameter: 16 read (weight, gradient, both moments) and 12 written; 2 more where the
// weights are kept in 16 bits, which changes no bit of the float32 ones.
#pragma once
#include <stdint.h>
#include "runtime/dtype.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

// total[0] += sum x^2 over all tensors, in float64 and a fixed order.
constexpr int kSquaresTensors = 32;
struct SumSquaresArgs {
  int tensors;  // <= kSquaresTensors
  struct {
    int64_t count;
    const float* x;  // [count]
  } tensor[kSquaresTensors];
  double* total;    // [1] in and out
  void* workspace;  // sum_squares_workspace bytes
};
int64_t sum_squares_workspace(const SumSquaresArgs&);
Status sum_squares(Context&, const SumSquaresArgs&);

constexpr int kAdamwTensors = 10;
struct AdamwArgs {
  int tensors;  // <= kAdamwTensors
  struct {
    int64_t count;
    float* weight;      // [count] in and out: the parameter, or its master
    const float* grad;  // [count]
    float *m, *v;       // [count] in and out
    void* rounded;      // [count] out: the parameter, where `dtype` has 16 bits
  } tensor[kAdamwTensors];
  DType dtype;  // of the parameters; bf16 and f16 are rounded to nearest even
  float lr, beta1, beta2, eps, weight_decay;
  float correction1;          // 1 - beta1^step, computed by the caller in float64
  float correction2;          // 1 - beta2^step
  const double* grad_square;  // [1] squared global norm, or null (no clipping)
  float max_grad_norm;        // > 0: gradients are scaled by min(1, max / (norm + 1e-6))
};
// A norm that is not finite leaves everything as it is.
Status adamw(Context&, const AdamwArgs&);

}  // namespace firesteel

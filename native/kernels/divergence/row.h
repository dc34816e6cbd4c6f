// Row maths of the divergences over the whole vocabulary, shared by the CPU and by CUDA: from the
// sums of both sides to the constants of its tokens, from those to the result, and back from the
// statistics.
#pragma once
#include <math.h>

#include "kernels/divergence/divergence.h"
#include "kernels/divergence/math.h"

namespace firesteel {

constexpr double kLn2 = 0x1.62e42fefa39efp-1, kLog2e = 0x1.71547652b82fep+0;

FIRESTEEL_HD inline float exponent_scale(double inverse_temperature) {
  return static_cast<float>(kLog2e * inverse_temperature);
}

FIRESTEEL_HD inline DivergenceConstants divergence_constants(float student_scale, float student_max,
                                                             float teacher_scale, float teacher_max,
                                                             float log2_ratio) {
  return {student_scale, student_max, log2_ratio < 0.0f ? -log2_ratio : 0.0f,
          teacher_scale, teacher_max, log2_ratio < 0.0f ? 0.0f : log2_ratio};
}

// log2 of the teacher's sum over the student's.
FIRESTEEL_HD inline float log2_ratio(double student_sum, double teacher_sum) {
  return static_cast<float>(::log2(teacher_sum / student_sum));
}

struct RowDivergence {
  double divergence;
  float inverse_sum, kl;
};
// first, second: sums of KL(q || p) and KL(p || q), or of the jsd and KL(p || m), times `sum`, the
// smaller of the two sums of 2^t. A KL of weight 0 is left out, even where it is infinite.
FIRESTEEL_HD inline RowDivergence row_divergence(const DivergenceWeights& w, double sum,
                                                 double first, double second) {
  double divergence = w.mixture || w.forward == 1.0f ? first : 0.0;
  if (!w.mixture && w.forward < 1.0f) {
    divergence = static_cast<double>(w.reverse) * second;
    if (w.forward > 0.0f) divergence += static_cast<double>(w.forward) * first;
  }
  const bool wanted = w.mixture || w.reverse > 0.0f;  // by the gradient
  return {divergence / sum, static_cast<float>(1.0 / sum),
          wanted ? static_cast<float>(second / sum) : 0.0f};
}

FIRESTEEL_HD inline void write_stats(const DivergenceConstants& c, float log2_ratio,
                                     const RowDivergence& row, float* stats) {
  stats[0] = c.student_max;
  stats[1] = c.teacher_max;
  stats[2] = log2_ratio;
  stats[3] = row.inverse_sum;
  stats[4] = row.kl;
}

}  // namespace firesteel

#include <cmath>

#include "kernels/bernoulli/bernoulli.h"
#include "kernels/bernoulli/math.h"
#include "runtime/cpu/context.h"

namespace firesteel {
namespace {

constexpr int64_t kEdges = 1 << 9;  // edges in a chunk of work: about 30 us of exp and log1p
constexpr int64_t kSums = 1 << 14;  // summands in a chunk of work

float at(const float* x, int64_t e) {
  return x != nullptr ? x[e] : 0.0f;
}

double sum_of(const float* x, int64_t begin, int64_t end) {
  double sum = 0.0;
  for (int64_t e = begin; e < end; ++e) sum += static_cast<double>(x[e]);
  return sum;
}

void report(const BernoulliArgs& a, int64_t row, int64_t begin, int64_t end) {
  for (int64_t e = begin; e < end; ++e) {
    if (std::isnan(a.log_prob[e])) {
      record_fault(a.faults, a.actions[e] > 1 ? Fault::id_out_of_range : Fault::not_a_number, row);
    } else if (!std::isfinite(at(a.kl, e))) {
      record_fault(a.faults, std::isnan(a.kl[e]) ? Fault::not_a_number : Fault::no_support, row);
    }
  }
}

}  // namespace

Status bernoulli_forward(Context& context, const BernoulliArgs& a) {
  const Status status = context.parallel(a.edges, kEdges, [&](int64_t begin, int64_t end) {
    for (int64_t e = begin; e < end; ++e) {
      bernoulli::EdgeValues values{0.0f, 0.0f, 0.0f};
      if (a.mask == nullptr || a.mask[e] != 0) {
        const bernoulli::Edge edge{a.logits[e], at(a.ref_logits, e), a.actions[e]};
        values = bernoulli::edge_values(edge, a.temperature, a.entropy != nullptr, a.kl != nullptr);
      }
      a.log_prob[e] = values.log_prob;
      if (a.entropy != nullptr) a.entropy[e] = values.entropy;
      if (a.kl != nullptr) a.kl[e] = values.kl;
    }
  });
  if (!status.ok()) return status;
  const int64_t grain = kSums / (a.rows > 0 ? a.edges / a.rows + 1 : 1) + 1;
  return context.parallel(a.rows, grain, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      const int64_t begin = a.row_offsets[r], end = a.row_offsets[r + 1];
      a.row_log_prob[r] = sum_of(a.log_prob, begin, end);
      if (a.entropy != nullptr) a.row_entropy[r] = sum_of(a.entropy, begin, end);
      if (a.kl != nullptr) a.row_kl[r] = sum_of(a.kl, begin, end);
      report(a, r, begin, end);
    }
  });
}

Status bernoulli_backward(Context& context, const BernoulliBackwardArgs& a) {
  return context.parallel(a.edges, kEdges, [&](int64_t begin, int64_t end) {
    for (int64_t e = begin; e < end; ++e) {
      a.d_logits[e] = 0.0f;
      if (a.mask != nullptr && a.mask[e] == 0) continue;
      const bernoulli::Edge edge{a.logits[e], at(a.ref_logits, e), a.actions[e]};
      const bernoulli::EdgeValues upstream{a.d_log_prob[e], at(a.d_entropy, e), at(a.d_kl, e)};
      a.d_logits[e] = bernoulli::edge_gradient(edge, a.temperature, upstream);
    }
  });
}

}  // namespace firesteel

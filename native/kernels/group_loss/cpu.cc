#include <algorithm>

#include "kernels/group_loss/group_loss.h"
#include "kernels/group_loss/math.h"
#include "kernels/group_loss/row_math.h"
#include "kernels/group_loss/row_score.h"
#include "runtime/cpu/context.h"

namespace firesteel {
namespace {

// Tokens in a chunk of work: about 20 us at 1 ns per token. A row of a group costs as much as 64.
constexpr int64_t kChunk = 1 << 14;
constexpr int64_t kTokensPerRow = 64;

int64_t grain_of(int64_t items, int64_t parts) {
  const int64_t items_per_part = parts > 0 ? items / parts : 0;
  return kChunk / (items_per_part + 1) + 1;
}

// Sums of a row run side by side: an addition need not wait for the one before. Plain C++, so that
// a score has the same bits on every instruction set.
constexpr int64_t kLanes = 8;

struct RowSum {
  double value = 0.0;
  int64_t trained = 0;
};

// Of value(i) over the trained tokens i of a row.
template <class Trained, class Value>
RowSum sum_tokens(int64_t tokens, Trained trained, Value value) {
  RowSum lanes[kLanes];
  const auto add = [&](RowSum& lane, int64_t i) {
    const bool taken = trained(i);
    lane.value += taken ? value(i) : 0.0;
    lane.trained += taken ? 1 : 0;
  };
  int64_t i = 0;
  for (; i + kLanes <= tokens; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) add(lanes[lane], i + lane);
  }
  for (; i < tokens; ++i) add(lanes[i % kLanes], i);
  for (int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int64_t lane = 0; lane < width; ++lane) {
      lanes[lane].value += lanes[lane + width].value;
      lanes[lane].trained += lanes[lane + width].trained;
    }
  }
  return lanes[0];
}

// The row's tokens, from `first` on.
struct Tokens {
  int64_t first, count;
  const uint8_t* mask;

  template <class Value>
  RowSum sum(Value value) const {
    if (mask == nullptr)
      return sum_tokens(
          count, [](int64_t) { return true; }, value);
    const uint8_t* own = mask + first;
    return sum_tokens(
        count, [own](int64_t i) { return own[i] != 0; }, value);
  }
};

RowSum sum_row(const RowScoreArgs& a, const Tokens& row) {
  const float* log_prob = a.log_prob + row.first;
  if (a.base_log_prob == nullptr) {
    return row.sum([=](int64_t i) { return static_cast<double>(log_prob[i]); });
  }
  const float* base = a.base_log_prob + row.first;
  if (a.term == RowTerm::k3) {
    return row.sum([=](int64_t i) { return k3(log_ratio(log_prob[i], base[i])); });
  }
  return row.sum([=](int64_t i) { return log_ratio(log_prob[i], base[i]); });
}

// slope * term'(x) of every trained token of a row; false where one is not a finite float.
bool spread(const RowScoreBackwardArgs& a, int64_t r, double slope) {
  const int64_t begin = a.row_offsets[r], end = a.row_offsets[r + 1];
  bool finite = true;
  if (a.log_prob != nullptr) {
    for (int64_t t = begin; t < end; ++t) {
      a.d_log_prob[t] = 0.0f;
      if (a.mask != nullptr && a.mask[t] == 0) continue;
      const double x = log_ratio(a.log_prob[t], a.base_log_prob[t]);
      finite &= to_gradient(slope * k3_slope(x), a.d_log_prob + t);
    }
    return finite;
  }
  float gradient;
  finite = to_gradient(slope, &gradient);
  if (a.mask == nullptr) {
    std::fill(a.d_log_prob + begin, a.d_log_prob + end, gradient);
  } else {
    for (int64_t t = begin; t < end; ++t) a.d_log_prob[t] = a.mask[t] != 0 ? gradient : 0.0f;
  }
  return finite;
}

void backward_row(const RowScoreBackwardArgs& a, int64_t r) {
  const double weight = a.token_weight[r];
  if (weight == 0.0) {
    std::fill(a.d_log_prob + a.row_offsets[r], a.d_log_prob + a.row_offsets[r + 1], 0.0f);
  } else if (!spread(a, r, weight * a.d_score[r])) {
    record_fault(a.faults, Fault::not_a_number, r);
  }
}

// The team of one thread.
struct Alone {
  FaultWord* faults;

  template <class Body>
  void each(int64_t begin, int64_t end, Body body) const {
    for (int64_t i = begin; i < end; ++i) body(i);
  }
  template <class T>
  T sum(T x) const {
    return x;
  }
  double max(double x) const { return x; }
  bool any(bool x) const { return x; }
  bool leads() const { return true; }
  void fault(int64_t row) const { record_fault(faults, Fault::not_a_number, row); }
};

}  // namespace

Status row_score(Context& context, const RowScoreArgs& a) {
  return context.parallel(a.rows, grain_of(a.tokens, a.rows), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t first = a.row_offsets[r];
      const RowSum sum = sum_row(a, {first, a.row_offsets[r + 1] - first, a.mask});
      const RowScore row = row_score_of(a.term, a.pooling, sum.value, sum.trained);
      if (!is_finite(row.score)) record_fault(a.faults, Fault::not_a_number, r);
      a.score[r] = row.score;
      a.token_weight[r] = row.token_weight;
      a.trained_tokens[r] = static_cast<int32_t>(sum.trained);
    }
  });
}

Status row_score_backward(Context& context, const RowScoreBackwardArgs& a) {
  return context.parallel(a.rows, grain_of(a.tokens, a.rows), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) backward_row(a, r);
  });
}

int64_t group_loss_workspace(int64_t groups) {
  return groups * static_cast<int64_t>(sizeof(GroupTerm));
}

Status group_loss(Context& context, const GroupLossArgs& a) {
  GroupTerm* terms = static_cast<GroupTerm*>(a.workspace);
  const Alone team{a.faults};
  const int64_t grain = grain_of(kTokensPerRow * a.rows, a.groups);
  const Status taken = context.parallel(a.groups, grain, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) {
      terms[g] = group_term(a, g, team);
      a.group_loss[g] = terms[g].loss;
    }
  });
  if (!taken.ok()) return taken;

  // In the order of the groups: neither the loss nor a metric depends on which thread did what.
  GroupTerm sum = {};
  for (int64_t g = 0; g < a.groups; ++g) {
    sum.loss += terms[g].loss;
    for (int m = 0; m < kGroupLossMetricCount; ++m) sum.metrics[m] += terms[g].metrics[m];
  }
  const double denominator = denominator_of(a, sum.metrics[kGroupCount]);
  *a.loss = sum.loss / denominator;
  for (int m = 0; m < kGroupLossMetricCount; ++m) a.metrics[m] = sum.metrics[m];
  return context.parallel(a.rows, kChunk, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) a.d_score[r] /= denominator;
  });
}

}  // namespace firesteel

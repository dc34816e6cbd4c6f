// A block of rows at a time, while its logits lie in the second-level cache: their statistics, the
// gradients of their tokens, the gradient of the logits. What the tokens of a row share, and the
// batch its denominator, is known before. Loss and metrics come last, from surrogate itself: a pass
// over a few numbers a token, where the logits have V.
#include <string.h>

#include <algorithm>

#include "kernels/log_prob/rows.h"
#include "kernels/surrogate/rows.h"
#include "kernels/surrogate/unit.h"
#include "kernels/token_loss/checks.h"
#include "runtime/cpu/context.h"

namespace firesteel {
namespace {

// Logits of a block where a row has fewer.
constexpr int64_t kBlock = 1 << 16;

struct Workspace {
  SurrogateUnit* units;  // [R]
  float* stats;          // [T, 2]
  FaultWord* unread;     // what surrogate records again, by row
};

int64_t lay_out(int64_t tokens, int64_t rows, void* memory, Workspace* w) {
  char* p = static_cast<char*>(memory);
  const auto place = [&p](int64_t bytes) {
    char* at = p;
    p += bytes;
    return at;
  };
  w->units =
      reinterpret_cast<SurrogateUnit*>(place(rows * static_cast<int64_t>(sizeof(SurrogateUnit))));
  w->stats = reinterpret_cast<float*>(place(2 * tokens * static_cast<int64_t>(sizeof(float))));
  w->unread = reinterpret_cast<FaultWord*>(place(sizeof(FaultWord)));
  return p - static_cast<char*>(memory);
}

struct Batch {
  const TokenLossArgs& a;
  SurrogatePlan plan;
  Workspace work;
  LogProbArgs forward;
  LogProbBackwardArgs backward;
};

LogProbArgs forward_of(const TokenLossArgs& a, float* stats) {
  LogProbArgs f{};
  static_cast<LogProbRows&>(f) = a.logits;
  f.mask = a.loss.mask;
  f.log_prob = a.log_prob;
  f.entropy = a.entropy;
  f.stats = stats;
  f.faults = a.faults;
  return f;
}

LogProbBackwardArgs backward_of(const TokenLossArgs& a, const float* stats) {
  LogProbBackwardArgs b{};
  static_cast<LogProbRows&>(b) = a.logits;
  b.mask = a.loss.mask;
  b.whole_vocab = a.logits.vocab;
  b.stats = stats;
  b.d_log_prob = a.loss.d_log_prob;
  b.d_entropy = a.loss.d_entropy;
  b.entropy = a.entropy;
  b.d_logits = a.d_logits;
  b.d_row_stride = a.d_row_stride;
  // A temperature out of range is found, and recorded, by the forward pass: such a row is not read.
  b.faults = a.faults;
  return b;
}

// Tokens [begin, end) of row r, some of which are left out of the loss: each is taken once more to
// find which. What the forward pass has recorded has no log-prob.
void record_left_out(const Batch& batch, int64_t r, int64_t begin, int64_t end) {
  const TokenLossArgs& a = batch.a;
  for (int64_t t = begin; t < end; ++t) {
    const bool trained = a.loss.mask == nullptr || a.loss.mask[t] != 0;
    if (!trained || a.log_prob[t] != a.log_prob[t]) continue;
    if (surrogate_gradients(a.loss, batch.plan, batch.work.units[r], r, t, t + 1) > 0) {
      record_fault(a.faults, Fault::not_a_number, t);
    }
  }
}

void take_block(const Batch& batch, int64_t begin, int64_t end) {
  const SurrogateArgs& loss = batch.a.loss;
  for (int64_t t = begin; t < end; ++t) log_prob_row(batch.forward, t);
  // The row that holds token `begin`: rows before it may be empty.
  const int32_t* offsets = loss.row_offsets;
  int64_t r = std::upper_bound(offsets, offsets + loss.rows + 1, begin) - offsets - 1;
  for (int64_t t = begin; t < end; ++r) {
    const int64_t last = std::min<int64_t>(end, offsets[r + 1]);
    if (t == last) continue;
    const int64_t left_out = surrogate_gradients(loss, batch.plan, batch.work.units[r], r, t, last);
    if (left_out > 0) record_left_out(batch, r, t, last);
    t = last;
  }
  for (int64_t t = begin; t < end; ++t) log_prob_backward_row(batch.backward, t);
}

}  // namespace

int64_t token_loss_workspace(int64_t tokens, int64_t rows) {
  Workspace w;
  return lay_out(tokens, rows, nullptr, &w);
}

Status token_loss(Context& context, const TokenLossArgs& a) {
  Status status = token_loss_refusal(a);
  if (!status.ok()) return status;
  Workspace work;
  lay_out(a.loss.tokens, a.loss.rows, a.workspace, &work);
  const Batch batch{a, plan_of(a.loss), work, forward_of(a, work.stats),
                    backward_of(a, work.stats)};

  status = surrogate_units(context, a.loss, work.units);
  if (!status.ok()) return status;
  const int64_t rows = std::max<int64_t>(1, kBlock / std::max<int64_t>(1, a.logits.vocab));
  status = context.parallel(a.loss.tokens, rows,
                            [&](int64_t begin, int64_t end) { take_block(batch, begin, end); });
  if (!status.ok()) return status;

  SurrogateArgs loss = a.loss;
  memset(work.unread, 0, sizeof *work.unread);
  loss.faults = work.unread;
  return surrogate(context, loss);
}

}  // namespace firesteel

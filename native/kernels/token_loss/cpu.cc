// A block of rows at a time, while its logits lie in the second-level cache: their statistics, the
// gradients of their tokens, the gradient of the logits. What the tokens of a row share, and the
// batch its denominator, is known before. Loss and metrics come last, from surrogate itself: a pass
// over a few numbers a token, where the logits have V. Where V is small that pass is no less than
// the others, and they go over the whole batch one after the other.
#include <string.h>

#include <algorithm>

#include "kernels/log_prob/rows.h"
#include "kernels/surrogate/rows.h"
#include "kernels/surrogate/unit.h"
#include "kernels/token_loss/checks.h"
#include "runtime/cpu/context.h"

namespace firesteel {
namespace {

// Logits of a block where a row has fewer: 256 KiB of f32, a quarter of the cache.
constexpr int64_t kBlock = 1 << 16;
// Blocks that a thread takes one after the other, and how many such shares a thread gets at least.
constexpr int64_t kBlocks = 8, kShares = 4;
// Below it a token's loss costs as much as reading its logits again, and the three passes are one
// after the other. Measured on an EPYC (Zen 5, 2 threads, f32), fused over separate: V = 31 0.89,
// V = 151,936 1.4, in place 1.75.
constexpr int64_t kLeastFused = 256;

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

// body(row, begin, end) for each row's share of tokens [begin, end).
template <class Body>
void each_row(const SurrogateArgs& loss, int64_t begin, int64_t end, const Body& body) {
  // The row that holds token `begin`: rows before it may be empty.
  const int32_t* offsets = loss.row_offsets;
  int64_t r = std::upper_bound(offsets, offsets + loss.rows + 1, begin) - offsets - 1;
  for (int64_t t = begin; t < end; ++r) {
    const int64_t last = std::min<int64_t>(end, offsets[r + 1]);
    if (t == last) continue;
    body(r, t, last);
    t = last;
  }
}

// `after`: the end of what this thread goes on with.
void take_block(const Batch& batch, int64_t begin, int64_t end, int64_t after) {
  for (int64_t t = begin; t < end; ++t) log_prob_row(batch.forward, t);
  each_row(batch.a.loss, begin, end, [&](int64_t r, int64_t first, int64_t last) {
    const SurrogateUnit& unit = batch.work.units[r];
    const int64_t left_out = surrogate_gradients(batch.a.loss, batch.plan, unit, r, first, last);
    if (left_out > 0) record_left_out(batch, r, first, last);
  });
  for (int64_t t = begin; t < end; ++t) {
    const int64_t next = end + t - begin;
    log_prob_backward_row(batch.backward, t, next < after ? next : t);
  }
}

Status take_blocks(Context& context, const Batch& batch) {
  const SurrogateArgs& loss = batch.a.loss;
  Status status = surrogate_units(context, loss, batch.work.units);
  if (!status.ok()) return status;
  const int64_t block = std::max<int64_t>(1, kBlock / batch.a.logits.vocab);
  // Several blocks in a row, so that one is fetched while another is written; not so many that a
  // thread has no part in a small batch.
  const int64_t share = loss.tokens / (block * context.threads() * kShares);
  const int64_t grain = block * std::min(kBlocks, std::max<int64_t>(1, share));
  return context.parallel(loss.tokens, grain, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; t += block) {
      take_block(batch, t, std::min(end, t + block), end);
    }
  });
}

// The loss and its metrics; whether it has left a token out.
Status take_loss(Context& context, const Batch& batch, bool* left_out) {
  SurrogateArgs loss = batch.a.loss;
  FaultWord* unread = batch.work.unread;
  memset(unread, 0, sizeof *unread);
  loss.faults = unread;
  const Status status = surrogate(context, loss);
  *left_out = unread->count[static_cast<int>(Fault::not_a_number)] > 0;
  return status;
}

Status take_passes(Context& context, const Batch& batch) {
  const SurrogateArgs& loss = batch.a.loss;
  bool left_out = false;
  Status status = log_prob_forward(context, batch.forward);
  if (status.ok()) status = take_loss(context, batch, &left_out);
  if (status.ok() && left_out) {
    status = surrogate_units(context, loss, batch.work.units);
    if (!status.ok()) return status;
    each_row(loss, 0, loss.tokens,
             [&](int64_t r, int64_t begin, int64_t end) { record_left_out(batch, r, begin, end); });
  }
  return status.ok() ? log_prob_backward(context, batch.backward) : status;
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
  if (a.logits.vocab < kLeastFused) return take_passes(context, batch);
  status = take_blocks(context, batch);
  bool left_out = false;  // and recorded already
  return status.ok() ? take_loss(context, batch, &left_out) : status;
}

}  // namespace firesteel

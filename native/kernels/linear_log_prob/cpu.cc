// The rows that count are gathered, a tile of them at a time. Forward: their logits come a tile of
// columns after the other, and each row carries its sums along. Backward: a tile of logits is made
// again, becomes its gradient in place, and is multiplied from both sides.
#include <string.h>

#include "kernels/linear_log_prob/rows.h"
#include "kernels/linear_log_prob/tiles.h"
#include "kernels/log_prob/rows.h"
#include "kernels/log_prob/table.h"
#include "runtime/cpu/context.h"

namespace firesteel {
namespace {

constexpr int64_t kTileBytes = 32 << 20;
// Enough rows for one reading of the weight, few enough that gathered they take at most 8 MB.
constexpr int64_t kMostRows = 2048;
constexpr int64_t kGatheredBytes = 8 << 20;
// Work of a thread at a time, 20 to 60 us: bytes to copy, exponentials.
constexpr int64_t kCopyBytes = 1 << 18;
constexpr int64_t kExponentials = 1 << 16;

// Parts of a row are whole blocks of log_prob's, parts of a sum over rows or columns whole blocks
// of gemm's: so the tile does not show in the result.
TileRule rule_of(LinearPass pass, const LinearShape& s) {
  const int64_t fit = kGatheredBytes / (s.hidden_size * int64_t{sizeof(float)});
  const int64_t rows = std::clamp(fit / kGemmBlock * kGemmBlock, kGemmBlock, kMostRows);
  if (pass == LinearPass::forward) return {1, kLogProbColumns, rows, kTileBytes};
  return {kGemmBlock, kGemmBlock, rows, kTileBytes};
}

struct GatheredSpace : TileSpace {
  void* hidden;
  int64_t* tokens;  // where the rows stand in the batch

  GatheredSpace(LinearPass pass, const LinearShape& s, Layout& layout)
      : TileSpace(pass, rule_of(pass, s), s, layout),
        hidden(layout.take(tile.rows * s.hidden_size * size_of(s.dtype))),
        tokens(layout.array<int64_t>(tile.rows)) {}
};

struct ForwardSpace : GatheredSpace {
  LogProbPartial* rows;

  ForwardSpace(const LinearShape& s, Layout& layout)
      : GatheredSpace(LinearPass::forward, s, layout),
        rows(layout.array<LogProbPartial>(tile.rows)) {}
};

struct BackwardSpace : GatheredSpace {
  float* d_hidden;
  int32_t* targets;
  float *stats, *temperatures;
  float *d_log_prob, *d_entropy, *entropy, *d_vocab_mean, *vocab_mean;

  BackwardSpace(const LinearShape& s, Layout& layout)
      : GatheredSpace(LinearPass::backward, s, layout),
        d_hidden(layout.array<float>(tile.rows * s.hidden_size)),
        targets(layout.array<int32_t>(tile.rows)),
        stats(layout.array<float>(2 * tile.rows)),
        temperatures(layout.array<float>(tile.rows)),
        d_log_prob(layout.array<float>(tile.rows)),
        d_entropy(layout.array<float>(tile.rows)),
        entropy(layout.array<float>(tile.rows)),
        d_vocab_mean(layout.array<float>(tile.rows)),
        vocab_mean(layout.array<float>(tile.rows)) {}
};

// to[i] = from[tokens[i]] for rows of `bytes`, or back: to[tokens[i]] = from[i].
Status copy_rows(Context& context, const GatheredSpace& w, int64_t count, int64_t bytes, void* to,
                 const void* from, bool back) {
  return context.parallel(count, kCopyBytes / bytes, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      memcpy(static_cast<char*>(to) + (back ? w.tokens[i] : i) * bytes,
             static_cast<const char*>(from) + (back ? i : w.tokens[i]) * bytes,
             static_cast<size_t>(bytes));
    }
  });
}

Status forward_rows(Context& context, const LinearLogProbArgs& a, const LogProbArgs& rows,
                    const ForwardSpace& w, int64_t count) {
  const LinearShape& s = a.shape;
  const int64_t row_bytes = s.hidden_size * size_of(s.dtype);
  Status status = copy_rows(context, w, count, row_bytes, w.hidden, a.hidden, false);
  for (int64_t v = 0; v < s.vocab && status.ok(); v += w.tile.columns) {
    const HeadTile tile = w.at(s, w.hidden, count, a.weight, v);
    status = gemm(context, logits_product(tile));
    if (!status.ok()) break;
    status = context.parallel(count, kExponentials / tile.columns, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        log_prob_add({DType::f32, tile.logits + i * tile.stride, v, tile.columns},
                     a.targets[w.tokens[i]], a.vocab_mean != nullptr, w.rows + i);
      }
    });
  }
  for (int64_t i = 0; i < count && status.ok(); ++i) log_prob_end(rows, w.tokens[i], w.rows[i]);
  return status;
}

// Everything that belongs to a row, gathered; without logits.
LogProbBackwardArgs gathered(const LogProbBackwardArgs& all, const BackwardSpace& w,
                             int64_t count) {
  LogProbBackwardArgs rows = all;
  rows.tokens = count;
  rows.targets = w.targets;
  rows.mask = nullptr;
  rows.stats = w.stats;
  for (int64_t i = 0; i < count; ++i) {
    w.targets[i] = all.targets[w.tokens[i]];
    w.stats[2 * i] = all.stats[2 * w.tokens[i]];
    w.stats[2 * i + 1] = all.stats[2 * w.tokens[i] + 1];
  }
  const auto gather = [&](const float*& from, float* to) {
    if (from == nullptr) return;
    for (int64_t i = 0; i < count; ++i) to[i] = from[w.tokens[i]];
    from = to;
  };
  gather(rows.temperatures, w.temperatures);
  gather(rows.d_log_prob, w.d_log_prob);
  gather(rows.d_entropy, w.d_entropy);
  gather(rows.entropy, w.entropy);
  gather(rows.d_vocab_mean, w.d_vocab_mean);
  gather(rows.vocab_mean, w.vocab_mean);
  return rows;
}

// The next rows that have a gradient, from *t on. The others' d_hidden is written.
int64_t collect(const LinearLogProbBackwardArgs& a, const LogProbBackwardArgs& all,
                const BackwardSpace& w, int64_t* t) {
  int64_t count = 0;
  for (; *t < all.tokens && count < w.tile.rows; ++*t) {
    const RowGradient gradient = gradient_of(all, *t);
    if (gradient == RowGradient::some) {
      w.tokens[count++] = *t;
      continue;
    }
    if (gradient == RowGradient::faulty) {
      record_fault(all.faults, Fault::parameter_out_of_range, *t);
    }
    float* out = a.d_hidden + *t * a.shape.hidden_size;
    if (!a.accumulate) memset(out, 0, static_cast<size_t>(a.shape.hidden_size) * sizeof(float));
  }
  return count;
}

// `resume`: d_weight holds the sum over earlier rows.
Status backward_rows(Context& context, const LinearLogProbBackwardArgs& a,
                     const LogProbBackwardArgs& all, const BackwardSpace& w, int64_t count,
                     bool resume) {
  const LinearShape& s = a.shape;
  const int64_t row_bytes = s.hidden_size * size_of(s.dtype);
  const int64_t gradient_bytes = s.hidden_size * size_of(DType::f32);
  Status status = copy_rows(context, w, count, row_bytes, w.hidden, a.hidden, false);
  if (status.ok() && a.accumulate) {
    status = copy_rows(context, w, count, gradient_bytes, w.d_hidden, a.d_hidden, false);
  }
  const LogProbBackwardArgs rows = gathered(all, w, count);
  for (int64_t v = 0; v < s.vocab && status.ok(); v += w.tile.columns) {
    const HeadTile tile = w.at(s, w.hidden, count, a.weight, v);
    status = gemm(context, logits_product(tile));
    if (status.ok()) status = log_prob_backward(context, with_logits(rows, tile, v));
    if (status.ok()) {
      status = gemm(context, d_hidden_product(tile, w.d_hidden, v > 0 || a.accumulate));
    }
    if (status.ok() && a.d_weight != nullptr) {
      status = gemm(context, d_weight_product(tile, a.d_weight + v * s.hidden_size, resume));
    }
  }
  if (!status.ok()) return status;
  return copy_rows(context, w, count, gradient_bytes, a.d_hidden, w.d_hidden, true);
}

}  // namespace

int64_t linear_log_prob_least(const LinearShape& s) {
  return std::max(least_bytes(rule_of(LinearPass::forward, s), s),
                  least_bytes(rule_of(LinearPass::backward, s), s));
}

int64_t linear_log_prob_workspace(LinearPass pass, const LinearShape& s) {
  Layout layout(nullptr);
  if (pass == LinearPass::forward) {
    ForwardSpace(s, layout);
  } else {
    BackwardSpace(s, layout);
  }
  return layout.bytes();
}

Status linear_log_prob(Context& context, const LinearLogProbArgs& a) {
  const LogProbArgs rows = rows_of(a);
  Layout layout(a.workspace);
  const ForwardSpace w(a.shape, layout);
  for (int64_t t = 0; t < rows.tokens;) {
    int64_t count = 0;
    for (; t < rows.tokens && count < w.tile.rows; ++t) {
      if (log_prob_begin(rows, t, w.rows + count)) w.tokens[count++] = t;
    }
    const Status status = forward_rows(context, a, rows, w, count);
    if (!status.ok()) return status;
  }
  return {};
}

Status linear_log_prob_backward(Context& context, const LinearLogProbBackwardArgs& a) {
  Layout layout(a.workspace);
  const BackwardSpace w(a.shape, layout);
  const LogProbBackwardArgs all = rows_of(a);
  int64_t t = 0;
  bool resume = a.accumulate;
  do {  // once even for no rows: d_weight is written
    const int64_t count = collect(a, all, w, &t);
    const Status status = backward_rows(context, a, all, w, count, resume);
    if (!status.ok()) return status;
    resume = true;
  } while (t < a.shape.tokens);
  return {};
}

}  // namespace firesteel

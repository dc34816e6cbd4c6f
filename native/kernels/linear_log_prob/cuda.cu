// Forward: whole rows of logits, as many as the chunk holds, and log_prob's kernel on them.
// Backward: tiles of many rows and some columns, so that d_weight is written once and d_hidden, the
// smaller of the two, is what goes on from tile to tile. Rows without a gradient are zeros there: 0
// times the NaN of a faulty row would be NaN.
#include "kernels/linear_log_prob/rows.h"
#include "kernels/linear_log_prob/tiles.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/ptx.h"

namespace firesteel {
namespace {

// By arithmetic, not yet by measurement: 441 rows of 151,936 logits keep large products large.
constexpr int64_t kTileBytes = 256 << 20;
// Parts of a sum over rows or columns are whole steps of gemm's: so the tile does not show in the
// result. Tiles of C are 128 wide at least. Rows as many as fit 32 MB of hidden, as floats.
constexpr int64_t kBlock = 128;
constexpr int64_t kMostRows = 8192;
constexpr int64_t kHiddenBytes = 32 << 20;

TileRule rule_of(LinearPass pass, const LinearShape& s) {
  if (pass == LinearPass::forward) return {1, s.vocab, INT64_MAX, kTileBytes};
  const int64_t fit = kHiddenBytes / (s.hidden_size * int64_t{sizeof(float)});
  return {kBlock, kBlock, std::clamp(fit / kBlock * kBlock, kBlock, kMostRows), kTileBytes};
}

struct BackwardSpace : TileSpace {
  void* hidden;
  float* d_hidden;
  float* stats;  // NaN for rows without a gradient

  BackwardSpace(const LinearShape& s, Layout& layout)
      : TileSpace(LinearPass::backward, rule_of(LinearPass::backward, s), s, layout),
        hidden(layout.take(tile.rows * s.hidden_size * size_of(s.dtype))),
        d_hidden(layout.array<float>(tile.rows * s.hidden_size)),
        stats(layout.array<float>(2 * tile.rows)) {}
};

// `to` [count, 2]: the statistics of the rows from `first` on that have a gradient, else NaN.
__global__ void mark_rows_kernel(LogProbBackwardArgs rows, int64_t first, int64_t count,
                                 float* to) {
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const RowGradient gradient = gradient_of(rows, first + i);
    if (gradient == RowGradient::faulty) {
      record_fault(rows.faults, Fault::parameter_out_of_range, first + i);
    }
    const bool some = gradient == RowGradient::some;
    to[2 * i] = some ? rows.stats[2 * (first + i)] : NAN;
    to[2 * i + 1] = some ? rows.stats[2 * (first + i) + 1] : NAN;
  }
}

template <class T>
struct CopyArgs {
  const T* from;
  T* to;
  int64_t width;
  const float* stats;  // of mark_rows_kernel
  bool clear;          // rows without a gradient become 0; else they stay as they are
  bool wide;
};

constexpr int kCopyThreads = 128;

// One block per row; only rows with a gradient are read.
template <class T>
__global__ void __launch_bounds__(kCopyThreads) copy_rows_kernel(CopyArgs<T> a) {
  constexpr int size = Pack<T>::size;
  const int64_t row = blockIdx.x;
  const float top = a.stats[2 * row];
  const bool some = top == top;
  if (!some && !a.clear) return;
  const T* from = a.from + row * a.width;
  T* to = a.to + row * a.width;
  for (int64_t i = threadIdx.x * size; i < a.width; i += kCopyThreads * size) {
    const int64_t left = a.width - i;
    const bool whole = a.wide && left >= size;
    Pack<T> pack;
    for (T& x : pack.x) x = T{};
    if (some) pack = whole ? load_pack(from + i) : load_pack_partial(from + i, left, T{});
    if (whole) {
      store_pack(to + i, pack);
    } else {
      store_pack_partial(to + i, pack, left);
    }
  }
}

template <class T>
Status copy_rows(Context& context, const void* from, void* to, int64_t rows, int64_t width,
                 const float* stats, bool clear) {
  CopyArgs<T> a{static_cast<const T*>(from), static_cast<T*>(to), width, stats, clear, false};
  a.wide = pack_aligned(a.from, width) && pack_aligned(a.to, width);
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(rows));
  shape.block = dim3(kCopyThreads);
  return launch(context, "linear_log_prob_backward", shape, copy_rows_kernel<T>, a);
}

Status copy_hidden(Context& context, const LinearShape& s, const void* from, void* to, int64_t rows,
                   const float* stats) {
  // 16-bit types are copied as bits.
  return s.dtype == DType::f32
             ? copy_rows<float>(context, from, to, rows, s.hidden_size, stats, true)
             : copy_rows<bf16>(context, from, to, rows, s.hidden_size, stats, true);
}

template <class T>
T* from_row(T* array_or_null, int64_t row) {
  return array_or_null == nullptr ? nullptr : array_or_null + row;
}

// `count` rows from t on, with the statistics that mark_rows_kernel made.
LogProbBackwardArgs marked(LogProbBackwardArgs rows, const BackwardSpace& w, int64_t t,
                           int64_t count) {
  rows.tokens = count;
  rows.targets += t;
  rows.mask = nullptr;
  rows.temperatures = from_row(rows.temperatures, t);
  rows.stats = w.stats;
  rows.d_log_prob = from_row(rows.d_log_prob, t);
  rows.d_entropy = from_row(rows.d_entropy, t);
  rows.entropy = from_row(rows.entropy, t);
  rows.d_vocab_mean = from_row(rows.d_vocab_mean, t);
  rows.vocab_mean = from_row(rows.vocab_mean, t);
  rows.first_row = t;
  return rows;
}

// Rows from t on and ids from v on.
Status backward_tile(Context& context, const LinearLogProbBackwardArgs& a,
                     const LogProbBackwardArgs& rows, const BackwardSpace& w, const HeadTile& tile,
                     int64_t t, int64_t v) {
  const Status logits = gemm(context, logits_product(tile));
  if (!logits.ok()) return logits;
  const Status gradient = log_prob_backward(context, with_logits(rows, tile, v));
  if (!gradient.ok()) return gradient;
  const bool later = v > 0 || a.accumulate;
  const Status product = gemm(context, d_hidden_product(tile, w.d_hidden, later));
  if (!product.ok() || a.d_weight == nullptr) return product;
  float* const d_weight = a.d_weight + v * tile.hidden_size;
  return gemm(context, d_weight_product(tile, d_weight, t > 0 || a.accumulate));
}

Status backward_rows(Context& context, const LinearLogProbBackwardArgs& a, const BackwardSpace& w,
                     int64_t t, int64_t count) {
  const LinearShape& s = a.shape;
  const int64_t h = s.hidden_size;
  const LogProbBackwardArgs all = rows_of(a);
  const Status found =
      launch(context, "linear_log_prob_backward", elementwise_shape(context, count),
             mark_rows_kernel, all, t, count, w.stats);
  if (!found.ok()) return found;
  const void* hidden = rows_from(a.hidden, t, s);
  const Status copied = copy_hidden(context, s, hidden, w.hidden, count, w.stats);
  if (!copied.ok()) return copied;
  float* const d_hidden = a.d_hidden + t * h;
  if (a.accumulate) {
    const Status sums = copy_rows<float>(context, d_hidden, w.d_hidden, count, h, w.stats, true);
    if (!sums.ok()) return sums;
  }
  const LogProbBackwardArgs rows = marked(all, w, t, count);
  for (int64_t v = 0; v < s.vocab; v += w.tile.columns) {
    const HeadTile tile = w.at(s, w.hidden, count, a.weight, v);
    const Status status = backward_tile(context, a, rows, w, tile, t, v);
    if (!status.ok()) return status;
  }
  return copy_rows<float>(context, w.d_hidden, d_hidden, count, h, w.stats, !a.accumulate);
}

// `count` rows from t on, with their logits.
LogProbArgs scored(LogProbArgs rows, const HeadTile& tile, int64_t t) {
  rows.logits = tile.logits;
  rows.row_stride = tile.stride;
  rows.tokens = tile.rows;
  rows.targets += t;
  rows.mask = from_row(rows.mask, t);
  rows.temperatures = from_row(rows.temperatures, t);
  rows.log_prob += t;
  rows.entropy = from_row(rows.entropy, t);
  rows.vocab_mean = from_row(rows.vocab_mean, t);
  rows.stats += 2 * t;
  rows.first_row = t;
  return rows;
}

}  // namespace

int64_t linear_log_prob_least(const LinearShape& s) {
  return std::max(least_bytes(rule_of(LinearPass::forward, s), s),
                  least_bytes(rule_of(LinearPass::backward, s), s));
}

int64_t linear_log_prob_workspace(LinearPass pass, const LinearShape& s) {
  Layout layout(nullptr);
  if (pass == LinearPass::forward) {
    TileSpace(pass, rule_of(pass, s), s, layout);
  } else {
    BackwardSpace(s, layout);
  }
  return layout.bytes();
}

Status linear_log_prob(Context& context, const LinearLogProbArgs& a) {
  const LinearShape& s = a.shape;
  Layout layout(a.workspace);
  const TileSpace w(LinearPass::forward, rule_of(LinearPass::forward, s), s, layout);
  for (int64_t t = 0; t < s.tokens; t += w.tile.rows) {
    const int64_t count = std::min(w.tile.rows, s.tokens - t);
    const HeadTile tile = w.at(s, rows_from(a.hidden, t, s), count, a.weight, 0);
    const Status product = gemm(context, logits_product(tile));
    if (!product.ok()) return product;
    const Status status = log_prob_forward(context, scored(rows_of(a), tile, t));
    if (!status.ok()) return status;
  }
  return {};
}

Status linear_log_prob_backward(Context& context, const LinearLogProbBackwardArgs& a) {
  Layout layout(a.workspace);
  const BackwardSpace w(a.shape, layout);
  int64_t t = 0;
  do {  // once even for no rows: d_weight is written
    const int64_t count = std::min(w.tile.rows, a.shape.tokens - t);
    const Status status = backward_rows(context, a, w, t, count);
    if (!status.ok()) return status;
    t += count;
  } while (t < a.shape.tokens);
  return {};
}

}  // namespace firesteel

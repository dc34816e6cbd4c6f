// Small groups side by side, each on one thread; large groups, and the batch for its scale, one
// after the other in chunks. Chunks are added in order, so nothing depends on the threads.
//
// Loops run over values that lie side by side. A batch that does not lie so (groups of scattered
// rows, several columns) is copied into group order, column by column, and its advantages back:
// where a group's rows stand changes no bit.
#include <algorithm>

#include "kernels/group_norm/table.h"
#include "runtime/cpu/context.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {

FIRESTEEL_DISPATCH(GroupNormTable, group_norm_table)

namespace {

// Rows of a chunk: 4 us at 0.5 ns per value. Sums are per chunk.
constexpr int64_t kChunk = 1 << 13;

bool needs_median(const GroupNormRule& rule) {
  return rule.center == Center::median || rule.scale == Scale::median_deviation;
}

bool is_in_order(const GroupNormArgs& a) {
  return a.columns == 1 && a.index == nullptr;
}

int64_t chunks_of(int64_t rows) {
  return (rows + kChunk - 1) / kChunk;
}

// The batch in group order, column by column, and what the call computes with.
struct Batch {
  const GroupNormArgs& a;
  const GroupNormTable& table;
  Context& context;
  double* batch_scales;   // [K]
  Extent* chunks;         // [chunks of all rows]
  double* copies;         // [K, R] values for medians to reorder, where any are asked for
  const float* values;    // [K, R]
  const uint8_t* valid;   // [K, R] or null
  float* advantage;       // [K, R]; the values themselves where they are a copy
};

struct Parts {  // of the workspace, in bytes
  int64_t scales, chunks, copies, values, valid;
};

Parts parts_of(const GroupNormArgs& a) {
  const int64_t all = a.rows * a.columns;
  const bool copied = !is_in_order(a);
  return {a.columns * static_cast<int64_t>(sizeof(double)),
          chunks_of(a.rows) * static_cast<int64_t>(sizeof(Extent)),
          needs_median(a.rule) ? all * static_cast<int64_t>(sizeof(double)) : 0,
          copied ? all * static_cast<int64_t>(sizeof(float)) : 0,
          copied && a.valid != nullptr ? all : 0};
}

int64_t row_at(const GroupNormArgs& a, int64_t position) {
  return a.index != nullptr ? a.index[position] : position;
}

bool is_valid(const GroupNormArgs& a, int64_t row, int64_t column) {
  return a.valid == nullptr || a.valid[a.valid_per_column ? row * a.columns + column : row] != 0;
}

// Into group order.
Status gather(Context& context, const GroupNormArgs& a, float* values, uint8_t* valid) {
  return context.parallel(a.rows, kChunk, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = row_at(a, i);
      for (int64_t k = 0; k < a.columns; ++k) {
        values[k * a.rows + i] = a.values[row * a.columns + k];
        if (valid != nullptr) valid[k * a.rows + i] = is_valid(a, row, k) ? 1 : 0;
      }
    }
  });
}

Status scatter(Context& context, const GroupNormArgs& a, const float* advantage) {
  return context.parallel(a.rows, kChunk, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* to = a.advantage + row_at(a, i) * a.columns;
      for (int64_t k = 0; k < a.columns; ++k) to[k] = advantage[k * a.rows + i];
    }
  });
}

// The set of math.h: the values of one column at the positions begin .. end of the group order.
class Members {
 public:
  Members(const Batch& batch, int64_t begin, int64_t end, int64_t column, bool finite_only)
      : b_(batch), begin_(begin), end_(end), column_(column), finite_only_(finite_only) {}

  GroupNormSpan span(int64_t begin, int64_t end) const {
    const int64_t at = column_ * b_.a.rows + begin;
    return {b_.values + at, b_.valid != nullptr ? b_.valid + at : nullptr, end - begin,
            finite_only_};
  }

  Extent extent(float but) const {
    return reduce([&](const GroupNormSpan& s) { return b_.table.extent(s, but); });
  }
  double sum(float but, SquareFrom term) const {
    return total([&](const GroupNormSpan& s) { return b_.table.squares(s, but, term); });
  }
  double sum(float, DistanceFrom term) const {
    return total([&](const GroupNormSpan& s) { return b_.table.distances(s, term); });
  }
  double median() const {
    return lower_median([](double x) { return x; });
  }
  double median_distance(double from) const {
    return lower_median([from](double x) { return std::abs(x - from); });
  }

  // How chunks ended: not ok where the engine was disposed meanwhile.
  const Status& status() const { return status_; }

 private:
  // part(span) of every chunk, added in order.
  template <class Part>
  Extent reduce(Part part) const {
    if (end_ - begin_ <= kChunk) return part(span(begin_, end_));
    const int64_t chunks = chunks_of(end_ - begin_);
    const Status status = b_.context.parallel(chunks, 1, [&](int64_t chunk, int64_t) {
      const int64_t begin = begin_ + chunk * kChunk;
      b_.chunks[chunk] = part(span(begin, std::min(begin + kChunk, end_)));
    });
    Extent all;
    if (!status.ok()) {
      status_ = status;
      return all;
    }
    for (int64_t chunk = 0; chunk < chunks; ++chunk) all.add(b_.chunks[chunk]);
    return all;
  }
  template <class Part>
  double total(Part part) const {
    const Extent all = reduce([&](const GroupNormSpan& s) {
      Extent sum;
      sum.sum = part(s);
      return sum;
    });
    return all.sum;
  }

  // Of at least one value. The lower median is one of them: an even group has a pivot too.
  template <class Key>
  double lower_median(Key key) const {
    const GroupNormSpan s = span(begin_, end_);
    double* first = b_.copies + column_ * b_.a.rows + begin_;
    double* last = first;
    for (int64_t i = 0; i < s.count; ++i) {
      const double x = static_cast<double>(s.values[i]);
      if (s.valid != nullptr && s.valid[i] == 0) continue;
      if (!finite_only_ || is_finite(x)) *last++ = key(x);
    }
    double* middle = first + (last - first - 1) / 2;
    std::nth_element(first, middle, last);
    return *middle;
  }

  const Batch& b_;
  const int64_t begin_, end_, column_;
  const bool finite_only_;
  mutable Status status_;
};

double ema_of(const GroupNormArgs& a, int64_t group, int64_t column) {
  return a.ema != nullptr ? static_cast<double>(a.ema[group * a.columns + column]) : a.ema_of_all;
}

float* advantage_at(const Batch& b, int64_t position, int64_t column) {
  return b.advantage + column * b.a.rows + position;
}

// Centre, scale and faults of a group's column.
void report(const GroupNormArgs& a, const Normalizer& n, int64_t group, int64_t column) {
  a.center_out[group * a.columns + column] = static_cast<float>(n.center);
  a.scale_out[group * a.columns + column] = static_cast<float>(n.scale);
  if (is_finite(n.center)) return;
  const int64_t first = a.group_offsets[group], last = a.group_offsets[group + 1];
  if (a.rule.center == Center::ema && !is_finite(ema_of(a, group, column))) {
    record_fault(a.faults, Fault::not_a_number, row_at(a, first));
  }
  for (int64_t i = first; i < last; ++i) {
    const int64_t row = row_at(a, i);
    if (!is_valid(a, row, column)) continue;
    if (is_finite(static_cast<double>(a.values[row * a.columns + column]))) continue;
    record_fault(a.faults, Fault::not_a_number, row);
  }
}

Status normalize_large(const Batch& b, int64_t group, int64_t column) {
  const GroupNormArgs& a = b.a;
  const int64_t first = a.group_offsets[group], last = a.group_offsets[group + 1];
  const Members members(b, first, last, column, false);
  const Normalizer n =
      normalizer(members, a.rule, ema_of(a, group, column), b.batch_scales[column]);
  if (!members.status().ok()) return members.status();
  report(a, n, group, column);
  return b.context.parallel(last - first, kChunk, [&](int64_t begin, int64_t end) {
    const GroupNormSpan span = members.span(first + begin, first + end);
    b.table.write(a.rule, n, span, advantage_at(b, first + begin, column));
  });
}

void normalize_small(const Batch& b, int64_t group, int64_t column) {
  const GroupNormArgs& a = b.a;
  const int64_t begin = a.group_offsets[group], end = a.group_offsets[group + 1];
  const Members members(b, begin, end, column, false);
  const GroupNormSpan span = members.span(begin, end);
  const double ema = ema_of(a, group, column), shared = b.batch_scales[column];
  float* advantage = advantage_at(b, begin, column);
  if (!needs_median(a.rule)) {
    return report(a, b.table.normalize(a.rule, span, ema, shared, advantage), group, column);
  }
  const Normalizer n = normalizer(members, a.rule, ema, shared);
  b.table.write(a.rule, n, span, advantage);
  report(a, n, group, column);
}

bool is_large(const GroupNormArgs& a, int64_t group) {
  return a.group_offsets[group + 1] - a.group_offsets[group] > kChunk;
}

Status normalize_groups(const Batch& b) {
  const GroupNormArgs& a = b.a;
  for (int64_t g = 0; a.rows > kChunk && g < a.groups; ++g) {
    if (!is_large(a, g)) continue;
    for (int64_t k = 0; k < a.columns; ++k) {
      const Status status = normalize_large(b, g, k);
      if (!status.ok()) return status;
    }
  }
  const int64_t rows_per_group = a.groups > 0 ? a.rows / a.groups : 0;
  const int64_t grain = kChunk / (rows_per_group + 1) + 1;
  return b.context.parallel(a.groups * a.columns, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t group = i / a.columns;
      if (!is_large(a, group)) normalize_small(b, group, i % a.columns);
    }
  });
}

}  // namespace

int64_t group_norm_workspace(const GroupNormArgs& a) {
  const Parts parts = parts_of(a);
  return parts.scales + parts.chunks + parts.copies + parts.values + parts.valid;
}

Status group_norm(Context& context, const GroupNormArgs& a) {
  const Parts parts = parts_of(a);
  char* at = static_cast<char*>(a.workspace);
  const auto part = [&at](int64_t bytes) {
    char* begin = at;
    at += bytes;
    return begin;
  };
  double* scales = reinterpret_cast<double*>(part(parts.scales));
  Extent* chunks = reinterpret_cast<Extent*>(part(parts.chunks));
  double* copies = reinterpret_cast<double*>(part(parts.copies));
  Batch batch{a,      group_norm_table(), context, scales,      chunks,
              copies, a.values,           a.valid, a.advantage};
  if (!is_in_order(a)) {
    float* values = reinterpret_cast<float*>(part(parts.values));
    uint8_t* valid = a.valid != nullptr ? reinterpret_cast<uint8_t*>(part(parts.valid)) : nullptr;
    const Status gathered = gather(context, a, values, valid);
    if (!gathered.ok()) return gathered;
    batch.values = batch.advantage = values;
    batch.valid = valid;
  }
  for (int64_t k = 0; k < a.columns; ++k) {
    scales[k] = 0.0;
    if (a.rule.scope == Scope::group) continue;
    const Members all(batch, 0, a.rows, k, true);
    scales[k] = batch_scale(all, a.rule);
    if (!all.status().ok()) return all.status();
  }
  const Status normalized = normalize_groups(batch);
  if (!normalized.ok() || is_in_order(a)) return normalized;
  return scatter(context, a, batch.advantage);
}

}  // namespace firesteel

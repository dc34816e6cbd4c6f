// Small groups side by side, each on one thread; large groups, and the batch for its scale, one
// after the other in chunks. Chunks are added in order, so nothing depends on the threads.
#include <algorithm>

#include "kernels/group_norm/math.h"
#include "runtime/cpu/context.h"

namespace firesteel {
namespace {

// Rows of a chunk: about 20 us at 2 ns per value. Sums are per chunk.
constexpr int64_t kChunk = 1 << 13;

bool needs_median(const GroupNormRule& rule) {
  return rule.center == Center::median || rule.scale == Scale::median_deviation;
}

struct Workspace {
  double* batch_scales;  // [K]
  Extent* chunks;        // [chunks of all rows]
  double* copies;        // [K, R] values for medians to reorder, where any are asked for
};

int64_t chunks_of(int64_t rows) {
  return (rows + kChunk - 1) / kChunk;
}

Workspace divide(const GroupNormArgs& a) {
  double* batch_scales = static_cast<double*>(a.workspace);
  Extent* chunks = reinterpret_cast<Extent*>(batch_scales + a.columns);
  return {batch_scales, chunks, reinterpret_cast<double*>(chunks + chunks_of(a.rows))};
}

int64_t row_at(const GroupNormArgs& a, int64_t position) {
  return a.index != nullptr ? a.index[position] : position;
}

bool is_valid(const GroupNormArgs& a, int64_t row, int64_t column) {
  return a.valid == nullptr || a.valid[a.valid_per_column ? row * a.columns + column : row] != 0;
}

// The set of math.h: the values of one column at the positions begin .. end of the group order.
class Members {
 public:
  Members(const GroupNormArgs& a, int64_t begin, int64_t end, int64_t column, bool finite_only,
          Context& context)
      : a_(a),
        workspace_(divide(a)),
        context_(context),
        begin_(begin),
        end_(end),
        column_(column),
        finite_only_(finite_only) {}

  Extent extent(float but) const {
    return reduce([&](int64_t begin, int64_t end) {
      Extent part;
      each(begin, end, [&](float x) {
        if (x != but) part.add(x);
      });
      return part;
    });
  }

  template <class Term>
  double sum(float but, Term term) const {
    const Extent all = reduce([&](int64_t begin, int64_t end) {
      Extent part;
      each(begin, end, [&](float x) {
        if (x != but) part.sum += term(static_cast<double>(x));
      });
      return part;
    });
    return all.sum;
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
  template <class Body>
  void each(int64_t begin, int64_t end, Body body) const {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = row_at(a_, i);
      if (!is_valid(a_, row, column_)) continue;
      const float x = a_.values[row * a_.columns + column_];
      if (!finite_only_ || is_finite(static_cast<double>(x))) body(x);
    }
  }

  // part(begin, end) of every chunk, added in order.
  template <class Part>
  Extent reduce(Part part) const {
    if (end_ - begin_ <= kChunk) return part(begin_, end_);
    const int64_t chunks = chunks_of(end_ - begin_);
    const Status status = context_.parallel(chunks, 1, [&](int64_t chunk, int64_t) {
      const int64_t begin = begin_ + chunk * kChunk;
      workspace_.chunks[chunk] = part(begin, std::min(begin + kChunk, end_));
    });
    Extent all;
    if (!status.ok()) {
      status_ = status;
      return all;
    }
    for (int64_t chunk = 0; chunk < chunks; ++chunk) all.add(workspace_.chunks[chunk]);
    return all;
  }

  // Of at least one value. The lower median is one of them: an even group has a pivot too.
  template <class Key>
  double lower_median(Key key) const {
    double* first = workspace_.copies + column_ * a_.rows + begin_;
    double* last = first;
    each(begin_, end_, [&](float x) { *last++ = key(static_cast<double>(x)); });
    double* middle = first + (last - first - 1) / 2;
    std::nth_element(first, middle, last);
    return *middle;
  }

  const GroupNormArgs& a_;
  const Workspace workspace_;
  Context& context_;
  const int64_t begin_, end_, column_;
  const bool finite_only_;
  mutable Status status_;
};

double ema_of(const GroupNormArgs& a, int64_t group, int64_t column) {
  return a.ema != nullptr ? static_cast<double>(a.ema[group * a.columns + column]) : a.ema_of_all;
}

void write_advantages(const GroupNormArgs& a, const Normalizer& n, int64_t begin, int64_t end,
                      int64_t column) {
  for (int64_t i = begin; i < end; ++i) {
    const int64_t row = row_at(a, i), at = row * a.columns + column;
    if (!is_valid(a, row, column)) {
      a.advantage[at] = 0.0f;
      continue;
    }
    const float x = a.values[at];
    if (!is_finite(static_cast<double>(x))) record_fault(a.faults, Fault::not_a_number, row);
    a.advantage[at] = advantage_of(a.rule, n, x);
  }
}

// Of a group's column; reports its centre and scale.
Normalizer normalizer_of(const GroupNormArgs& a, const Members& members, int64_t group,
                         int64_t column) {
  const double ema = ema_of(a, group, column);
  const Normalizer n = normalizer(members, a.rule, ema, divide(a).batch_scales[column]);
  if (a.rule.center == Center::ema && !is_finite(ema) && !is_finite(n.center)) {
    record_fault(a.faults, Fault::not_a_number, row_at(a, a.group_offsets[group]));
  }
  a.center_out[group * a.columns + column] = static_cast<float>(n.center);
  a.scale_out[group * a.columns + column] = static_cast<float>(n.scale);
  return n;
}

Status normalize_large(Context& context, const GroupNormArgs& a, int64_t group, int64_t column) {
  const int64_t first = a.group_offsets[group], last = a.group_offsets[group + 1];
  const Members members(a, first, last, column, false, context);
  const Normalizer n = normalizer_of(a, members, group, column);
  if (!members.status().ok()) return members.status();
  return context.parallel(last - first, kChunk, [&](int64_t begin, int64_t end) {
    write_advantages(a, n, first + begin, first + end, column);
  });
}

void normalize_small(Context& context, const GroupNormArgs& a, int64_t group, int64_t column) {
  const int64_t begin = a.group_offsets[group], end = a.group_offsets[group + 1];
  const Members members(a, begin, end, column, false, context);
  write_advantages(a, normalizer_of(a, members, group, column), begin, end, column);
}

bool is_large(const GroupNormArgs& a, int64_t group) {
  return a.group_offsets[group + 1] - a.group_offsets[group] > kChunk;
}

}  // namespace

int64_t group_norm_workspace(const GroupNormArgs& a) {
  const int64_t copies = needs_median(a.rule) ? a.rows * a.columns : 0;
  return (a.columns + copies) * static_cast<int64_t>(sizeof(double)) +
         chunks_of(a.rows) * static_cast<int64_t>(sizeof(Extent));
}

Status group_norm(Context& context, const GroupNormArgs& a) {
  for (int64_t k = 0; k < a.columns; ++k) {
    double& scale = divide(a).batch_scales[k];
    scale = 0.0;
    if (a.rule.scope == Scope::group) continue;
    const Members all(a, 0, a.rows, k, true, context);
    scale = batch_scale(all, a.rule);
    if (!all.status().ok()) return all.status();
  }
  for (int64_t g = 0; g < a.groups; ++g) {
    if (!is_large(a, g)) continue;
    for (int64_t k = 0; k < a.columns; ++k) {
      const Status status = normalize_large(context, a, g, k);
      if (!status.ok()) return status;
    }
  }
  const int64_t rows_per_group = a.groups > 0 ? a.rows / a.groups : 0;
  const int64_t grain = kChunk / (rows_per_group + 1) + 1;
  return context.parallel(a.groups * a.columns, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t group = i / a.columns;
      if (!is_large(a, group)) normalize_small(context, a, group, i % a.columns);
    }
  });
}

}  // namespace firesteel

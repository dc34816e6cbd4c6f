#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/group_norm/group_norm.h"
#include "runtime/cpu/context.h"

namespace firesteel {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Rows in a chunk of work: about 20 us at 2 ns per row.
constexpr int64_t kChunk = 1 << 13;

bool all_finite(const double* x, int64_t n) {
  return std::all_of(x, x + n, [](double v) { return std::isfinite(v); });
}

bool is_constant(const double* x, int64_t n) {
  return std::all_of(x, x + n, [x](double v) { return v == x[0]; });
}

double mean_of(const double* x, int64_t n) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  return sum / static_cast<double>(n);
}

// Reorders x. The lower median is one of the values: an even group has a pivot too.
double median_of(double* x, int64_t n) {
  double* middle = x + (n - 1) / 2;
  std::nth_element(x, middle, x + n);
  return *middle;
}

// n >= 1, all finite. Reorders x.
double center_of(Center center, double* x, int64_t n) {
  switch (center) {
    case Center::none:
      return 0.0;
    case Center::mean:
      return mean_of(x, n);
    case Center::median:
      return median_of(x, n);
  }
  return kNan;
}

// n >= 2, all finite. Reorders and overwrites x.
double scale_of(Scale scale, int32_t ddof, double* x, int64_t n) {
  switch (scale) {
    case Scale::none:
      return 1.0;
    case Scale::std: {
      const double mean = mean_of(x, n);
      double sum = 0.0;
      for (int64_t i = 0; i < n; ++i) sum += (x[i] - mean) * (x[i] - mean);
      return std::sqrt(sum / static_cast<double>(n - ddof));
    }
    case Scale::median_deviation: {
      const double median = median_of(x, n);
      for (int64_t i = 0; i < n; ++i) x[i] = std::abs(x[i] - median);
      return median_of(x, n);
    }
  }
  return kNan;
}

int64_t row_at(const GroupNormArgs& a, int64_t i) {
  return a.index != nullptr ? a.index[i] : i;
}

bool is_valid(const GroupNormArgs& a, int64_t row) {
  return a.valid == nullptr || a.valid[row] != 0;
}

// The valid values at positions begin .. end, widened; returns how many.
int64_t gather(const GroupNormArgs& a, int64_t begin, int64_t end, double* x) {
  int64_t n = 0;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t row = row_at(a, i);
    if (is_valid(a, row)) x[n++] = static_cast<double>(a.values[row]);
  }
  return n;
}

double batch_scale(const GroupNormArgs& a, double* x) {
  const int64_t valid = gather(a, 0, a.rows, x);
  const int64_t n = std::remove_if(x, x + valid, [](double v) { return !std::isfinite(v); }) - x;
  return n < 2 || is_constant(x, n) ? 0.0 : scale_of(a.scale, a.ddof, x, n);
}

// `shared_scale` is the batch's; unused where each group has its own.
void normalize_group(const GroupNormArgs& a, double shared_scale, int64_t group) {
  const int64_t begin = a.group_offsets[group], end = a.group_offsets[group + 1];
  double* x = static_cast<double*>(a.workspace) + begin;
  const int64_t n = gather(a, begin, end, x);
  const bool wrong = !all_finite(x, n);
  const bool flat = n < 2 || (!wrong && is_constant(x, n));
  const double center = n == 0 ? 0.0 : wrong ? kNan : center_of(a.center, x, n);
  const double scale = flat                      ? 0.0
                       : wrong                   ? kNan
                       : a.scope == Scope::batch ? shared_scale
                                                 : scale_of(a.scale, a.ddof, x, n);
  const double eps = a.scale == Scale::none ? 0.0 : static_cast<double>(a.eps);
  const bool zero = flat || scale + eps == 0.0;
  a.center_out[group] = static_cast<float>(center);
  a.scale_out[group] = static_cast<float>(scale);
  for (int64_t i = begin; i < end; ++i) {
    const int64_t row = row_at(a, i);
    const double distance = static_cast<double>(a.values[row]) - center;
    if (wrong && is_valid(a, row) && !std::isfinite(a.values[row])) {
      record_fault(a.faults, Fault::not_a_number, row);
    }
    a.advantage[row] =
        zero || !is_valid(a, row) ? 0.0f : static_cast<float>(distance / (scale + eps));
  }
}

}  // namespace

int64_t group_norm_workspace(int64_t rows, int64_t) {
  return rows * static_cast<int64_t>(sizeof(double));
}

Status group_norm(Context& context, const GroupNormArgs& a) {
  const double shared_scale =
      a.scope == Scope::batch ? batch_scale(a, static_cast<double*>(a.workspace)) : 0.0;
  const int64_t rows_per_group = a.groups > 0 ? a.rows / a.groups : 0;
  const int64_t grain = kChunk / (rows_per_group + 1) + 1;
  return context.parallel(a.groups, grain, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) normalize_group(a, shared_scale, g);
  });
}

}  // namespace firesteel

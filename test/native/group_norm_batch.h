// What the native tests of group_norm share on both backends: a batch, one call on it, and the
// formula in float64 as plain as it can be written (the sizes of the published checks are small;
// here it is the edges of the kernels' plans that matter).
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/group_norm/group_norm.h"

namespace firesteel {

struct GroupNormBatch {
  std::vector<int> sizes;  // of the groups
  std::vector<float> values;
  int64_t columns = 1;
  std::vector<uint8_t> valid;  // [R], [R, K] or empty
  std::vector<int32_t> index;  // or empty
  std::vector<float> ema;      // [G, K] or empty
  GroupNormRule rule = {Center::mean,
                        Scale::std,
                        Scope::group,
                        EpsPlacement::outside,
                        ZeroScale::eps,
                        Singleton::zero,
                        1,
                        1e-4,
                        0.25,
                        0.75};

  int64_t rows() const { return static_cast<int64_t>(values.size()) / columns; }
  std::vector<int32_t> offsets() const {
    std::vector<int32_t> out{0};
    for (int size : sizes) out.push_back(out.back() + size);
    return out;
  }
  bool counts(int64_t row, int64_t column) const {
    if (valid.empty()) return true;
    const bool per_value = valid.size() == values.size();
    return valid[static_cast<size_t>(per_value ? row * columns + column : row)] != 0;
  }
};

struct GroupNormResult {
  std::vector<float> advantage, center, scale;
  FaultWord faults = {{0, 0, 0}, {~0u, ~0u, ~0u}};

  bool operator==(const GroupNormResult& o) const {
    return advantage == o.advantage && center == o.center && scale == o.scale;
  }
};

// The workspace is exactly as large as asked for.
inline Status run_group_norm(Context& context, const GroupNormBatch& b, GroupNormResult* out) {
  const std::vector<int32_t> offsets = b.offsets();
  const size_t statistics = b.sizes.size() * static_cast<size_t>(b.columns);
  out->advantage.assign(b.values.size(), 7.0f);
  out->center.assign(statistics, 7.0f);
  out->scale.assign(statistics, 7.0f);
  GroupNormArgs a{};
  a.rule = b.rule;
  a.values = b.values.data();
  a.valid = b.valid.empty() ? nullptr : b.valid.data();
  a.valid_per_column = !b.valid.empty() && b.valid.size() == b.values.size();
  a.group_offsets = offsets.data();
  a.index = b.index.empty() ? nullptr : b.index.data();
  a.ema = b.ema.empty() ? nullptr : b.ema.data();
  a.ema_of_all = 0.5;
  a.rows = b.rows();
  a.groups = static_cast<int64_t>(b.sizes.size());
  a.columns = b.columns;
  a.advantage = out->advantage.data();
  a.center_out = out->center.data();
  a.scale_out = out->scale.data();
  a.faults = &out->faults;
  std::vector<double> workspace(static_cast<size_t>((group_norm_workspace(a) + 7) / 8));
  a.workspace = workspace.data();
  return group_norm(context, a);
}

namespace plain {

using Values = std::vector<double>;

inline double mean(const Values& x) {
  double sum = 0.0;
  for (double v : x) sum += v;
  return x.empty() ? 0.0 : sum / static_cast<double>(x.size());
}
inline double lower_median(Values x) {
  if (x.empty()) return 0.0;
  std::sort(x.begin(), x.end());
  return x[(x.size() - 1) / 2];
}
inline bool constant(const Values& x) {
  return std::all_of(x.begin(), x.end(), [&](double v) { return v == x[0]; });
}
inline double std_of(const Values& x, int ddof) {
  if (x.size() < 2 || constant(x)) return 0.0;
  const double middle = mean(x);
  double squares = 0.0;
  for (double v : x) squares += (v - middle) * (v - middle);
  return std::sqrt(squares / static_cast<double>(static_cast<int64_t>(x.size()) - ddof));
}
inline Values others(Values x, size_t i) {
  x.erase(x.begin() + static_cast<std::ptrdiff_t>(i));
  return x;
}

inline double spread(const Values& x, const GroupNormRule& rule) {
  if (x.size() < 2 || constant(x)) return 0.0;
  Values away;
  switch (rule.scale) {
    case Scale::none:
      return 1.0;
    case Scale::std:
    case Scale::leave_one_out_std:
      return std_of(x, rule.ddof);
    case Scale::mean_deviation:
    case Scale::median_deviation: {
      const bool robust = rule.scale == Scale::median_deviation;
      const double middle = robust ? lower_median(x) : mean(x);
      for (double v : x) away.push_back(std::fabs(v - middle));
      return robust ? lower_median(away) : mean(away);
    }
    case Scale::range:
      return *std::max_element(x.begin(), x.end()) - *std::min_element(x.begin(), x.end());
  }
  return 0.0;
}

inline GroupNormResult group_norm(const GroupNormBatch& b) {
  const std::vector<int32_t> offsets = b.offsets();
  GroupNormResult out;
  out.advantage.assign(b.values.size(), 0.0f);
  for (size_t g = 0; g < b.sizes.size(); ++g) {
    for (int64_t k = 0; k < b.columns; ++k) {
      Values batch, x;
      std::vector<size_t> places;
      for (int32_t i = 0; i < offsets.back(); ++i) {
        const int64_t row = b.index.empty() ? i : b.index[static_cast<size_t>(i)];
        if (!b.counts(row, k)) continue;
        const size_t place = static_cast<size_t>(row * b.columns + k);
        batch.push_back(static_cast<double>(b.values[place]));
        if (i < offsets[g] || i >= offsets[g + 1]) continue;
        x.push_back(batch.back());
        places.push_back(place);
      }
      const GroupNormRule& rule = b.rule;
      const size_t at = g * static_cast<size_t>(b.columns) + static_cast<size_t>(k);
      const double ema = b.ema.empty() ? 0.5 : static_cast<double>(b.ema[at]);
      const double middle = constant(x) && !x.empty() ? x[0] : mean(x);
      const double center = x.empty() || rule.center == Center::none ? 0.0
                            : rule.center == Center::median          ? lower_median(x)
                            : rule.center == Center::ema
                                ? (1.0 - rule.ema_blend) * middle + rule.ema_blend * ema
                                : middle;
      const double share = rule.scope == Scope::group   ? 0.0
                           : rule.scope == Scope::batch ? 1.0
                                                        : rule.scope_blend;
      const bool flat = constant(x);
      const double scale =
          flat ? 0.0 : (1.0 - share) * spread(x, rule) + share * spread(batch, rule);
      out.center.push_back(static_cast<float>(center));
      out.scale.push_back(static_cast<float>(scale));
      for (size_t i = 0; !flat && i < x.size(); ++i) {
        const double from = rule.center == Center::leave_one_out ? mean(others(x, i)) : center;
        const double own =
            rule.scale == Scale::leave_one_out_std ? std_of(others(x, i), rule.ddof) : scale;
        const double by = rule.scale == Scale::none ? 1.0 : own + rule.eps;
        if (by != 0.0) out.advantage[places[i]] = static_cast<float>((x[i] - from) / by);
      }
    }
  }
  return out;
}

}  // namespace plain

// What the tables allow (src/engine/kernels/groupNormTable.ts).
template <class Body>
void for_every_combination(Body body) {
  for (int center = 0; center <= static_cast<int>(Center::ema); ++center) {
    for (int scale = 0; scale <= static_cast<int>(Scale::range); ++scale) {
      for (int scope = 0; scope <= static_cast<int>(Scope::blend); ++scope) {
        const Scale s = static_cast<Scale>(scale);
        const Center c = static_cast<Center>(center);
        const bool group = static_cast<Scope>(scope) == Scope::group;
        if (s == Scale::none && (!group || c == Center::none)) continue;
        if (s == Scale::leave_one_out_std && (!group || c != Center::leave_one_out)) continue;
        body(c, s, static_cast<Scope>(scope));
      }
    }
  }
}

}  // namespace firesteel

// A divergence and its gradient in double, from the definitions, for the native tests of both
// backends: one row of float student logits and teacher values.
#pragma once
#include <math.h>

#include <algorithm>
#include <vector>

#include "kernels/divergence/divergence.h"

namespace firesteel {

struct PlainDivergence {
  double value = 0.0;
  std::vector<double> gradient;
};

inline std::vector<double> log_softmax(std::vector<double> z) {
  const double top = *std::max_element(z.begin(), z.end());
  double sum = 0.0;
  for (const double x : z) sum += std::exp(x - top);
  for (double& x : z) x = x - top - std::log(sum);
  return z;
}

// ids: empty for DivergenceSupport::full. Without masses held at their least, without non_negative.
inline PlainDivergence plain_divergence(const DivergenceRule& rule,
                                        const std::vector<float>& student,
                                        const std::vector<float>& teacher,
                                        const std::vector<int32_t>& ids, double inverse_temperature,
                                        double inverse_teacher_temperature) {
  const size_t vocab = student.size();
  const bool renormalized = rule.support == DivergenceSupport::renormalized;
  std::vector<int> place(vocab, -1);  // among the k
  for (size_t v = 0; v < vocab; ++v) {
    if (ids.empty()) place[v] = static_cast<int>(v);
  }
  for (size_t j = 0; j < ids.size(); ++j) {
    place[static_cast<size_t>(ids[j])] = static_cast<int>(j);
  }

  std::vector<double> z, y;
  std::vector<size_t> tokens;
  for (size_t v = 0; v < vocab; ++v) {
    if (renormalized && place[v] < 0) continue;
    tokens.push_back(v);
    z.push_back(static_cast<double>(student[v]) * inverse_temperature);
  }
  for (const float x : teacher) y.push_back(static_cast<double>(x) * inverse_teacher_temperature);
  const bool given =
      rule.support == DivergenceSupport::tail || rule.support == DivergenceSupport::truncated;
  const std::vector<double> log_p = log_softmax(z), log_q = given ? y : log_softmax(y);

  // Outcomes: the k tokens, and what the support makes of the rest.
  std::vector<double> p(vocab, 0.0), outcome_p, outcome_q, floor_q;
  std::vector<int> outcome(vocab, -1);
  double rest_p = 0.0, rest_q = 1.0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const size_t v = tokens[i];
    p[v] = std::exp(log_p[i]);
    const bool top = place[v] >= 0;
    const double q = top ? std::exp(log_q[static_cast<size_t>(place[v])]) : 0.0;
    if (!top) rest_p += p[v];
    rest_q -= q;
    if (!top && rule.support != DivergenceSupport::floor) continue;
    outcome[v] = static_cast<int>(outcome_p.size());
    outcome_p.push_back(p[v]);
    outcome_q.push_back(q);
    floor_q.push_back(top ? q : std::exp(rule.log_floor));
  }
  if (rule.support == DivergenceSupport::tail) {
    for (const size_t v : tokens) {
      if (place[v] < 0) outcome[v] = static_cast<int>(outcome_p.size());
    }
    outcome_p.push_back(rest_p);
    outcome_q.push_back(rest_q);
    floor_q.push_back(rest_q);
  }

  PlainDivergence result;
  std::vector<double> slopes;
  double pulled = 0.0;
  const double w = rule.weight;
  for (size_t o = 0; o < outcome_p.size(); ++o) {
    const double a = outcome_p[o], b = outcome_q[o], c = floor_q[o], m = w * b + (1.0 - w) * a;
    const double forward = b > 0.0 ? b * std::log(b / a) : 0.0;
    const double reverse = a > 0.0 ? a * std::log(a / c) : 0.0;
    const double forward_slope = b > 0.0 ? -b / a : 0.0;
    const double reverse_slope = a > 0.0 ? std::log(a / c) + 1.0 : 0.0;
    double value = forward, slope = forward_slope;
    if (rule.kind == DivergenceKind::reverse) {
      value = reverse;
      slope = reverse_slope;
    } else if (rule.kind == DivergenceKind::mixed) {
      value = w * forward + (1.0 - w) * reverse;
      slope = w * forward_slope + (1.0 - w) * reverse_slope;
    } else if (rule.kind == DivergenceKind::jsd) {
      value = (b > 0.0 ? w * b * std::log(b / m) : 0.0) +
              (a > 0.0 ? (1.0 - w) * a * std::log(a / m) : 0.0);
      slope = a > 0.0 ? (1.0 - w) * std::log(a / m) : 0.0;
    }
    result.value += value;
    slopes.push_back(slope);
    pulled += a * slope;
  }
  for (size_t v = 0; v < vocab; ++v) {
    const double slope = outcome[v] < 0 ? 0.0 : slopes[static_cast<size_t>(outcome[v])];
    result.gradient.push_back(p[v] * (slope - pulled) * inverse_temperature);
  }
  return result;
}

struct DivergenceChoice {
  DivergenceKind kind;
  DivergenceSupport support;
};
// Every kind with every support that it goes with (divergenceTable.ts).
inline std::vector<DivergenceChoice> divergence_choices() {
  std::vector<DivergenceChoice> all;
  for (int kind = 0; kind < 4; ++kind) {
    for (int support = 0; support < 5; ++support) {
      const DivergenceChoice choice{static_cast<DivergenceKind>(kind),
                                    static_cast<DivergenceSupport>(support)};
      const bool proper =
          choice.kind == DivergenceKind::forward || choice.kind == DivergenceKind::jsd;
      if (choice.support == DivergenceSupport::truncated && !proper) continue;
      if (choice.support == DivergenceSupport::floor && choice.kind == DivergenceKind::jsd)
        continue;
      all.push_back(choice);
    }
  }
  return all;
}

}  // namespace firesteel

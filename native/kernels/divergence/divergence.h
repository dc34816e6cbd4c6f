// divergence: how far a student's distribution p is from a teacher's q, one number per row, with
// the gradient for the student's logits. Kinds, supports and their formulas:
// src/engine/kernels/divergenceTable.ts.
//
//   p = softmax(student / temperature), q = softmax(teacher / teacher temperature)
//
// Two forms. `full`: teacher logits over the whole vocabulary, streamed. Otherwise the teacher's
// values at k tokens: what happens at those is worked out in double, and the student's other logits
// are read, in a stream, only where p is normalised over them: not for `renormalized`.
//
// Accuracy against float64 of the same inputs, z = -log min(p, q) of a token, or of the one of them
// that is not 0:
//
//   full: |error| <= 2^-21 sum over tokens of (1 + z) (term + |p - q|), for jsd further divided by
//   min(weight, 1 - weight). Terms are taken in the form q log(q / p) - q + p, which has the same
//   sum and is never negative: where p and q are nearly equal the error shrinks with |p - q|, so
//   that a divergence of 1e-8 keeps its first digits. Equal inputs give exactly 0.
//
//   top-k: one rounding to float, and what a mass outside of the k tokens moves that is off by
//   2^-21 (1 + its mean z) of itself.
//
// A row's result depends on its own values, on V and on k alone.
//
// -inf logits are legal: 0 log 0 is 0. Where the divergence is infinite (q > 0 = p in a kind that
// has log p, p > 0 = q in one that has log q) the row is +inf, has gradient 0 and is the fault
// no_support; so is, with NaN, a row of which either side is nothing but -inf. NaN or +inf in
// either side, or in the teacher's values: not_a_number. A top id outside of [0, V), or twice in a
// row: id_out_of_range. Those give NaN. Masked rows (mask 0) are not read and give 0.
#pragma once
#include "kernels/divergence/kinds.h"
#include "runtime/dtype.h"
#include "runtime/fault.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

// Mass of the tail below which it counts as this much, for p and q alike (TRL's add_tail).
constexpr double kLeastTail = 1e-7;

// Of a row's statistics; the slopes at the k tokens follow.
constexpr int kDivergenceStats = 5;

struct DivergenceRule {
  DivergenceKind kind;
  DivergenceSupport support;
  double weight;      // mixed: of the forward KL, in [0, 1]; jsd: of q in m, in [0.001, 0.999]
  double log_floor;   // < 0, for DivergenceSupport::floor
  bool non_negative;  // truncated forward KL: below 0 it is 0, with gradient 0 (verl)
};

struct DivergenceArgs {
  DivergenceRule rule;
  const void* student;                 // [T, V] f32, bf16 or f16
  const void* teacher;                 // full: [T, V]; otherwise [T, K]; f32, bf16 or f16
  DType student_dtype;                 //
  DType teacher_dtype;                 //
  int64_t tokens;                      // T >= 0
  int64_t vocab;                       // V in [1, 2^20]
  int64_t top_k;                       // K in [1, V]; 0 for full
  const int32_t* top_ids;              // [T, K], different within a row; null for full
  const uint8_t* mask;                 // [T] or null (all trained)
  double inverse_temperature;          // of the student; > 0
  double inverse_teacher_temperature;  // > 0; 1 where the teacher's values are log-probs
  float* divergence;                   // [T] out
  // [T, 5 + K] out. Full: max of the student, max of the teacher, with s the sums of 2^((x - max)
  // log2(e) / temperature) log2 of the teacher's s over the student's, 1 / the smaller s, and
  // KL(p || q) where it counts or for jsd KL(p || m). Otherwise max of the student, log2 s, two
  // coefficients of the gradient outside of the k tokens, 0; then d divergence / d (student /
  // temperature) at each of those. Zeros in masked rows, NaN in faulty ones.
  float* stats;
  FaultWord* faults;
};
Status divergence_forward(Context&, const DivergenceArgs&);

struct DivergenceBackwardArgs {
  DivergenceRule rule;  // all of these as in forward
  const void* student;
  const void* teacher;  // full only, else null
  DType student_dtype;
  DType teacher_dtype;
  int64_t tokens, vocab, top_k;
  const int32_t* top_ids;  // those beyond [0, V), which forward refuses, are passed over
  const uint8_t* mask;
  double inverse_temperature, inverse_teacher_temperature;
  const float* stats;         // [T, 5 + K] of forward
  const float* d_divergence;  // [T]
  void* d_student;            // [T, V] out, dtype of the student; may be `student`
};
// d_student[t, v] = d_divergence[t] d divergence[t] / d student[t, v], rounded once, from float
// arithmetic that is off by at most 2^-21 (1 + z) (p + p sum |P g| + |P g|) / temperature, with P g
// as in top_k.h. Rows that are masked or faulty, or whose d_divergence is 0, are written with exact
// zeros.
Status divergence_backward(Context&, const DivergenceBackwardArgs&);

}  // namespace firesteel

// log_prob on the CPU, row by row.
#pragma once
#include "kernels/log_prob/log_prob.h"

namespace firesteel {

// Row t of log_prob_forward and of log_prob_backward, for whoever does something in between. The
// dtype must be one of theirs. `next` is the row that will be read next, which is fetched
// meanwhile; t where that is not known.
void log_prob_row(const LogProbArgs&, int64_t t);
void log_prob_backward_row(const LogProbBackwardArgs&, int64_t t, int64_t next);

// The forward pass for whoever makes the logits of a row part by part and never holds all of them.
// `logits`, `dtype` and `row_stride` of the arguments are not looked at.

// Columns of one row: `count` logits of the ids from `first_id` on, a multiple of kLogProbColumns
// (table.h) unless they are the last.
struct LogProbColumns {
  DType dtype;
  const void* logits;
  int64_t first_id, count;
};

// False: nothing of the row is to be read, since it is masked, its target no id or its temperature
// out of range; then it is written.
bool log_prob_begin(const LogProbArgs&, int64_t t, LogProbPartial* row);
// with_total: the row's vocabulary mean is asked for.
void log_prob_add(const LogProbColumns&, int32_t target, bool with_total, LogProbPartial* row);
// Writes row t.
void log_prob_end(const LogProbArgs&, int64_t t, const LogProbPartial& row);

}  // namespace firesteel

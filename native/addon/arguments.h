// Arguments that the calls of several families unpack alike.
#pragma once
#include "addon/call.h"
#include "kernels/log_prob/log_prob.h"
#include "kernels/surrogate/surrogate.h"

namespace firesteel {

// log_prob.cc. `extent`: from the start of the first row to the end of the last, which need not be
// padded to the stride.
int64_t extent(int64_t rows, int64_t stride, int64_t width);
void read_rows(Call&, LogProbRows*);
int64_t bytes_of(const LogProbRows&);

// surrogate.cc: inputs and outputs, but neither the workspace nor the faults.
void read_surrogate(Call&, SurrogateArgs*);

}  // namespace firesteel

// What the per-ISA objects of gaussian offer to cpu.cc: some neighbouring elements of one sample.
#pragma once
#include <stdint.h>

namespace firesteel {

struct GaussianPart {
  int64_t count;
  const float *value, *mean;  // [count]
  const uint8_t* mask;        // [count] or null
};

struct FlowPart {
  int64_t count;
  const float *x, *v;
  const float* noise;  // [count] or null
  const float* given;  // [count] or null
  float *mean, *next;  // [count] out; next null where given
  float x_scale, v_scale, std;
};

struct GradientPart {
  int64_t count;
  const float *value, *mean;
  const uint8_t* mask;
  const float* d_mean;  // [count] or null
  float factor, gain;
  float* d_input;  // [count] out
};

struct GaussianTable {
  // The sum of (value - mean)^2 over valid elements, whose number goes to *valid.
  double (*squares)(const GaussianPart&, int64_t* valid);
  // The sum of (next - mean)^2.
  double (*flow_step)(const FlowPart&);
  void (*backward)(const GradientPart&);
};

}  // namespace firesteel

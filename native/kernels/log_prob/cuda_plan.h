// How a row of logits is shared among warps, for the forward pass and for token_loss.
//
// A row is a number of segments of 2 KiB (cuda_row.h), dealt to `parts` virtual warps: part p takes
// segments p, p + parts, ... in this order. How many parts there are follows from V alone, and the
// parts are merged in a fixed order, so a row has the same bits however many warps and blocks do
// the work, on any card: with few rows many blocks share a row, with many rows a block has one to
// itself.
//
//   By arithmetic, to be measured. An H200 has 132 multiprocessors with 65,536 registers and 227 KiB
//   of shared memory; the measured copy rate is 4.3 TB/s, the specified one 4.8 TB/s.
//   Bytes in flight: 4.8 TB/s * 800 ns / 132 = 29 KiB a multiprocessor. At 64 registers 1,024
//   threads are resident, each with 64 bytes of the next segment in flight while it computes:
//   64 KiB.
//   Instructions: 8.4 a bf16 element (forward, aligned; 10.2 misaligned) and 18 (fused) by count of
//   the SASS; at 132 * 128 lanes * 1.75 GHz = 29.6 T/s the 1,245 M elements of [8192, 151936] take
//   0.35, 0.43 and 0.76 ms. exp2: one and two an element at 16 a clock: 0.34 and 0.67 ms.
//
//   [8192, V]            parts  blocks a row x threads  blocks an SM        memory  issue  predicted
//   bf16 151,936 forward    64  2 x 256                 4 (registers)       0.58    0.35   0.62 ms
//   bf16 50,257 forward     16  4 x 128 ... 2 x 256     4                   0.19    0.14   0.21 ms
//   f32 151,936 forward    128  2 x 256                 4                   1.16    0.33   1.24 ms
//   bf16 151,936 fused      64  8 x 256, 38 KiB each    4 (registers)       1.16    0.76   1.40 ms
//   f32 151,936 fused      128  8 x 512, 76 KiB each    2 (shared memory)   2.32    0.76   2.8 ms
//   f32 262,144 fused      256  8 x 1024, 128 KiB each  1                   4.00    1.3    5.0 ms
#pragma once
#include <string>

#include "kernels/log_prob/cuda_row.h"

namespace firesteel {
namespace {

constexpr int kMaxParts = 256;
constexpr int kPartSegments = 2;    // at least, so that one is loaded while the other is summed
constexpr int kResidentWarps = 32;  // of a multiprocessor, at 64 registers a thread
constexpr int kRowWarps = 8;        // of a block; more only where the card has no clusters
constexpr int kWaves = 16;          // of blocks: the last one is then 3 % of the time, on average

struct Plan {
  int segments, parts;
  int warps, cluster;  // of a block, and blocks; their product divides `parts`
};

template <class T>
Plan parts_of(int64_t vocab) {
  Plan plan = {segments_of<T>(vocab), 1, 1, 1};
  while (plan.parts < kMaxParts && 2 * kPartSegments * plan.parts <= plan.segments) plan.parts *= 2;
  return plan;
}

inline int64_t resident_blocks(const Context& context, int warps) {
  return int64_t{kResidentWarps} / warps * context.sm_count;
}

template <class T>
Plan forward_plan(const Context& context, int64_t tokens, int64_t vocab) {
  Plan plan = parts_of<T>(vocab);
  plan.warps = plan.parts < kRowWarps ? plan.parts : kRowWarps;
  const auto divides = [&plan] { return 2 * plan.warps * plan.cluster <= plan.parts; };
  while (plan.cluster < context.max_cluster && divides() &&
         tokens * plan.cluster < kWaves * resident_blocks(context, plan.warps)) {
    plan.cluster *= 2;
  }
  while (context.max_cluster == 1 && plan.warps < kResidentWarps && divides() &&
         tokens < resident_blocks(context, plan.warps)) {
    plan.warps *= 2;
  }
  return plan;
}

inline Status too_many_rows(int64_t tokens, int64_t blocks_per_row) {
  return Status::error(Code::range, "expected at most " +
                                        std::to_string(kMaxGridX / blocks_per_row) +
                                        " rows, received " + std::to_string(tokens));
}

inline LaunchShape row_shape(const Plan& plan, int64_t tokens) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(tokens * plan.cluster));
  shape.block = dim3(static_cast<unsigned>(plan.warps * kWarp));
  shape.cluster = plan.cluster;
  return shape;
}

}  // namespace
}  // namespace firesteel

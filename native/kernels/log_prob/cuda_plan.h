// How a row of logits is shared among warps, for the forward pass and for token_loss.
//
// A row is a number of segments of 1.5 KiB (cuda_row.h), dealt to `parts` virtual warps: part p
// takes segments p, p + parts, ... in this order. How many parts there are follows from V alone,
// and they are merged in a fixed order, so a row has the same bits however many warps and blocks do
// the work: with few rows many blocks share one, with many rows a block takes most of one or all of
// it.
//
// By arithmetic, to be measured. An H200 has 132 multiprocessors with 65,536 registers and 227 KiB
// of shared memory; it copies 4.3 TB/s (specified: 4.8).
//   Bytes in flight: 4.8 TB/s * 800 ns / 132 = 29 KiB a multiprocessor. At 64 registers 1,024
//   threads are resident; each has 48 bytes of the next segment in flight while it computes: 48
//   KiB. Tiles of 4 packs would be 64 KiB, but spill at 64 registers. From sm_90 on whole parts are
//   asked for ahead with one instruction a segment, so that those loads find their data in the
//   second-level cache. Instructions, by count of the PTX: 9 a bf16 element forward, 10.5 where
//   rows start off a multiple of 16 bytes, 18 fused. 132 * 128 lanes * 1.75 GHz issue 29.6 T/s: for
//   the 1,245 M elements of [8192, 151936] 0.38, 0.44 and 0.76 ms. exp2: one an element, two fused,
//   at 16 a clock: 0.34 and 0.67 ms.
//
//   8192 rows              parts  a row                   on an SM               memory  predicted
//   bf16 151,936 forward      64  2 blocks x 256 threads  4 blocks (registers)    0.58 ms   0.62 ms
//   bf16 50,257 forward       32  2 x 256                 4 (registers)           0.19      0.21
//   f32 151,936 forward      128  2 x 256                 4 (registers)           1.16      1.24
//   bf16 151,936 fused        64  8 x 256, 38 KiB kept    4 (registers)           1.16      1.35
//   f32 151,936 fused        128  8 x 512, 75 KiB kept    2 (shared memory)       2.32      2.7
//   f32 262,144 fused        256  8 x 1,024, 129 KiB      1 (shared memory)       4.00      5.0
//   A100, 1.8 TB/s, bf16 151,936 fused: 1 x 1,024 with 103 of 198 segments kept. The rest is read
//   twice: 108 rows * 143 KiB = 15 MiB of the 40 MiB of second-level cache.  2.77      3.3
// Clusters of 16 are not portable and would gain for f32 from 200,000 columns on only.
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

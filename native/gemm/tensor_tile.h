// gemm on the tensor cores: B of bf16 or f16, A as B, or of f32 beside a bf16 B.
//
// A block's tile of C is divided among its warps and stays in their registers. Stages of 64 terms
// of both operands go through shared memory by asynchronous copies, several ahead of the products.
// Each element of C is one chain of mma steps of 16 terms, in order from term 0, whatever tile it
// falls in: the tile may follow the shape, the bits do not.
//
// An f32 value of A is a sum of bf16: its upper half, what that leaves rounded, and what is left
// then. Three are the value itself, the first two differ from it by at most 2^-16 of it. A step of
// 16 terms is one for each of them, first the upper halves.
//
// Why these tiles, by arithmetic. An mma (2,048 multiply-adds) takes 2 cycles of an A100's SM and
// at best 1.6 of an H200's, whose full rate only wgmma reaches: mma.sync comes to about 62 % of it
// (Luo et al. 2024, arXiv 2402.13499, table VIII). Shared memory moves 128 bytes a cycle, for
// fragments and for the copies that fill it.
//
//   block      warps   of a warp   bytes read + written per mma   cycles   mma.sync   of 989 TF/s
//   128 x 256  2 x 4   64 x 64     128 + 48                       1.4      1.6        <= 62 %
//   128 x 128  2 x 4   64 x 32     192 + 64                       2.0      1.6        <= 50 %
//   64 x 64    2 x 2   32 x 32     256 + 128                      3.0      1.6        <= 33 %
//   the same with A of f32 in two parts, per pair: 320 + 96       3.3      3.2        <= 30 %
//                       in three, per three:       320 + 96       3.3      4.8        <= 20 %
//
// The largest tile is for products that give one to every second multiprocessor; below that small
// tiles, of which three fit, are faster by their number. Products of few rows are as fast as the
// weights arrive: 64 x 64 keeps 24 KB of them on their way per block.
#pragma once
#include "gemm/gemm.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/mma.h"

namespace firesteel {
namespace {

constexpr int kStageDepth = 64;  // terms of K
constexpr int kMmaDepth = 16;
constexpr int kSteps = kStageDepth / kMmaDepth;

// An operand seen as [outer, k]; outer is m or n.
template <class T>
struct TensorOperand {
  const T* data;
  int64_t outer, outer_stride, k_stride;
  bool along_k;  // rows of shared memory lie along k, else along the outer dimension
  bool wide;     // neighbours along them are neighbours in memory, 16-byte aligned
};

template <class A, class B>
struct TensorProblem {
  TensorOperand<A> a;
  TensorOperand<B> b;
  int64_t k, tiles_m, tiles_n;
  float* c;
  int64_t c_row;
  int parts;  // of an f32 of A: 2 or 3
  bool accumulate, resume, c_pairs;
};

// A stage's slice of an operand in shared memory: rows of 64 elements in chunks of 16 bytes. Along
// k row r is the outer index r; else there is a panel of 64 rows, one for each term, for every 64
// outer indices. Chunks are permuted within a row so that what a warp reads at once lies in
// different banks: 8 rows of one chunk, or of floats 4 rows of two.
template <class T>
struct SliceLayout {
  static constexpr int kRow = 64;
  static constexpr int kChunk = 16 / static_cast<int>(sizeof(T));
  static constexpr int kChunks = kRow / kChunk;
  __device__ __forceinline__ static int at(int row, int chunk) {
    const int turn = sizeof(T) == 2 ? row & 7 : ((row & 3) ^ (row >> 2 & 1)) << 1;
    return row * kRow + (chunk ^ turn) * kChunk;
  }
};

// Copies one operand's slices, the same chunk of several rows by each thread.
template <class T, int OUTER, int THREADS>
class SliceCopy {
 public:
  __device__ __forceinline__ SliceCopy(const TensorOperand<T>& x, int64_t outer)
      : row_(static_cast<int>(threadIdx.x) / Layout::kChunks),
        chunk_(static_cast<int>(threadIdx.x) % Layout::kChunks),
        outer_left_(x.outer - outer < OUTER ? static_cast<int>(x.outer - outer) : OUTER),
        row_stride_(x.along_k ? x.outer_stride : x.k_stride),
        column_stride_(x.along_k ? x.k_stride : x.outer_stride),
        from_(x.data + outer * x.outer_stride + row_ * row_stride_ +
              chunk_ * Layout::kChunk * column_stride_) {}

  // The slice at depth p of k. Not awaited.
  __device__ __forceinline__ void start(const TensorOperand<T>& x, SharedPtr<T> slice, int64_t p,
                                        int64_t k) const {
    const int k_left = k - p < kStageDepth ? static_cast<int>(k - p) : kStageDepth;
    const int rows_left = x.along_k ? outer_left_ : k_left;
    const int columns_left = x.along_k ? k_left : outer_left_;
    const T* from = from_ + p * x.k_stride;
#pragma unroll 2
    for (int i = 0; i < kCopies; ++i) {
      const int row = i % kPerPanel * kRowStep, panel = i / kPerPanel * Layout::kRow;
      const bool exists = row_ + row + (x.along_k ? panel : 0) < rows_left;
      const int beyond = columns_left - chunk_ * Layout::kChunk - (x.along_k ? 0 : panel);
      const int left = !exists || beyond < 0     ? 0
                       : beyond < Layout::kChunk ? beyond
                                                 : Layout::kChunk;
      const T* at = from + row * row_stride_ + panel * x.outer_stride;
      const SharedPtr<T> to = slice + Layout::at(row_ + row + panel, chunk_);
      if (x.wide) {
        cp_async_16(to, at, left * static_cast<int>(sizeof(T)));
        continue;
      }
      Pack<T> pack;
#pragma unroll
      for (int e = 0; e < Pack<T>::size; ++e) pack.x[e] = e < left ? at[e * column_stride_] : T{};
      store_pack(to, pack);
    }
  }

 private:
  using Layout = SliceLayout<T>;
  static constexpr int kRowStep = THREADS / Layout::kChunks;
  static constexpr int kPerPanel = Layout::kRow / kRowStep;
  static constexpr int kCopies = OUTER / kRowStep;
  static_assert(kRowStep % 8 == 0 && OUTER % Layout::kRow == 0, "a thread's rows turn alike");

  int row_, chunk_, outer_left_;
  int64_t row_stride_, column_stride_;
  const T* from_;
};

// Fragments of the 16 x 16 squares of a warp's part of a slice: square i of the outer dimension,
// step s of k. `outer` and `k` say which 8 elements of square 0 the lane names to ldmatrix.
class Squares {
 public:
  __device__ __forceinline__ Squares(bool along_k, int warp_outer, int outer, int k)
      : along_k_(along_k),
        row_(along_k ? warp_outer + outer : warp_outer / 64 * 64 + k),
        chunk_(along_k ? k / 8 : (warp_outer % 64 + outer) / 8) {}

  template <class T>
  __device__ __forceinline__ void load(uint32_t (&r)[4], SharedPtr<T> slice, int i, int s) const {
    const int row = row_ + kMmaDepth * (along_k_ ? i : s), chunk = chunk_ + 2 * (along_k_ ? s : i);
    const SharedPtr<T> from = slice + SliceLayout<T>::at(row, chunk);
    if (along_k_) {
      ldmatrix_x4(r, from);
    } else {
      ldmatrix_x4<true>(r, from);
    }
  }

 private:
  bool along_k_;
  int row_, chunk_;
};

// A's fragments. Up to kParts of them add up to the values.
template <class T>
class ASquares {
 public:
  static constexpr int kParts = 1;

  __device__ __forceinline__ ASquares(bool along_k, int warp_outer, int lane)
      : squares_(along_k, warp_outer, along_k ? lane % 16 : lane / 8 % 2 * 8,
                 along_k ? lane / 16 * 8 : lane % 8 + lane / 16 * 8) {}

  __device__ __forceinline__ void load(uint32_t (&r)[1][4], SharedPtr<T> slice, int i, int s,
                                       int) const {
    squares_.load(r[0], slice, i, s);
  }

 private:
  Squares squares_;
};

// ldmatrix moves no floats: a lane reads its own eight, and splits them.
template <>
class ASquares<float> {
 public:
  static constexpr int kParts = 3;

  __device__ __forceinline__ ASquares(bool along_k, int warp_outer, int lane)
      : along_k_(along_k), outer_(warp_outer + lane / 4), k_(lane % 4 * 2) {}

  __device__ __forceinline__ void load(uint32_t (&r)[3][4], SharedPtr<float> slice, int i, int s,
                                       int parts) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int outer = outer_ + kMmaDepth * i + j % 2 * 8, k = k_ + kMmaDepth * s + j / 2 * 8;
      float low, high;
      if (along_k_) {
        const Two two = load_two(slice + at(outer, k));
        low = two.x[0];
        high = two.x[1];
      } else {
        low = slice[at(outer / 64 * 64 + k, outer % 64)];
        high = slice[at(outer / 64 * 64 + k + 1, outer % 64)];
      }
      r[0][j] = float_bits(low) >> 16 | (float_bits(high) & 0xffff0000u);
      low = rest_of(low);
      high = rest_of(high);
      r[1][j] = pack_halves<bf16>(low, high);
      if (parts < 3) continue;
      low -= bits_float(r[1][j] << 16);
      high -= bits_float(r[1][j] & 0xffff0000u);
      r[2][j] = pack_halves<bf16>(low, high);
    }
  }

 private:
  __device__ __forceinline__ static int at(int row, int column) {
    return SliceLayout<float>::at(row, column / 4) + column % 4;
  }
  // What the upper half leaves; 0 of an infinity.
  __device__ __forceinline__ static float rest_of(float x) {
    const float upper = bits_float(float_bits(x) & 0xffff0000u);
    return x == upper ? 0.0f : x - upper;
  }

  bool along_k_;
  int outer_, k_;
};

template <class A, class B, int M_TILE, int N_TILE, int WARPS_M, int WARPS_N, int STAGES>
struct TensorTile {
  static constexpr int kThreads = 32 * WARPS_M * WARPS_N;
  static constexpr int kM = M_TILE / WARPS_M, kN = N_TILE / WARPS_N;  // of a warp
  static constexpr int kASlice = M_TILE * kStageDepth, kBSlice = N_TILE * kStageDepth;
  static constexpr size_t kABytes = sizeof(A) * STAGES * kASlice;
  static constexpr size_t kBytes = kABytes + sizeof(B) * STAGES * kBSlice;
  static_assert(64 % kM == 0 && 64 % kN == 0 && kN % 16 == 0, "a warp stays within a panel");
};

// Neighbouring blocks share rows of A and columns of B in L2: they fill bands of kBand tile rows.
constexpr int64_t kBand = 8;

template <class A, class B, int M_TILE, int N_TILE, int WARPS_M, int WARPS_N, int STAGES>
__global__ void __launch_bounds__(32 * WARPS_M * WARPS_N, WARPS_M* WARPS_N == 4 ? 3 : 1)
    tensor_kernel(TensorProblem<A, B> g) {
  using Shape = TensorTile<A, B, M_TILE, N_TILE, WARPS_M, WARPS_N, STAGES>;
  constexpr int kThreads = Shape::kThreads, kMSquares = Shape::kM / 16, kNSquares = Shape::kN / 16;
  const SharedPtr<A> a_slices = dynamic_smem<A>();
  const SharedPtr<B> b_slices = dynamic_smem<B>(Shape::kABytes);

  const int64_t band = blockIdx.x / (kBand * g.tiles_n);
  const int64_t in_band = blockIdx.x % (kBand * g.tiles_n);
  const int64_t band_left = g.tiles_m - band * kBand;
  const int64_t band_rows = band_left < kBand ? band_left : kBand;
  const int64_t m0 = (band * kBand + in_band % band_rows) * M_TILE;
  const int64_t n0 = in_band / band_rows * N_TILE;

  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_m = warp / WARPS_N * Shape::kM, warp_n = warp % WARPS_N * Shape::kN;
  // A warp beyond the edge of C only copies.
  const bool busy = m0 + warp_m < g.a.outer && n0 + warp_n < g.b.outer;

  float sum[2 * kNSquares][kMSquares][4] = {};
  // visit(two sums, c, left) for every pair of this lane's elements: `left` of them exist in C.
  const auto each_pair = [&](auto visit) {
#pragma unroll
    for (int i = 0; i < kMSquares; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int64_t row = m0 + warp_m + 16 * i + 8 * half + lane / 4;
        if (row >= g.a.outer) continue;
#pragma unroll
        for (int j = 0; j < 2 * kNSquares; ++j) {
          const int64_t column = n0 + warp_n + 8 * j + lane % 4 * 2;
          const int64_t left = g.b.outer - column;
          if (left > 0) visit(sum[j][i] + 2 * half, g.c + row * g.c_row + column, left);
        }
      }
    }
  };
  if (g.resume) {
    each_pair([&](float* sums, const float* c, int64_t left) {
      sums[0] = c[0];
      if (left > 1) sums[1] = c[1];
    });
  }

  const SliceCopy<A, M_TILE, kThreads> a_copy(g.a, m0);
  const SliceCopy<B, N_TILE, kThreads> b_copy(g.b, n0);
  const int64_t slices = (g.k + kStageDepth - 1) / kStageDepth;
  // One group of copies per slice, empty beyond the last, so that they can be counted.
  const auto start = [&](int64_t slice, int stage) {
    if (slice < slices) {
      a_copy.start(g.a, a_slices + stage * Shape::kASlice, slice * kStageDepth, g.k);
      b_copy.start(g.b, b_slices + stage * Shape::kBSlice, slice * kStageDepth, g.k);
    }
    cp_async_commit();
  };
#pragma unroll 1
  for (int s = 0; s < STAGES - 1; ++s) start(s, s);

  const ASquares<A> a_squares(g.a.along_k, warp_m, lane);
  const Squares b_squares(g.b.along_k, warp_n,
                          g.b.along_k ? lane % 8 + lane / 16 * 8 : lane / 16 * 8,
                          g.b.along_k ? lane / 8 % 2 * 8 : lane % 16);
  int stage = 0;
  for (int64_t slice = 0; slice < slices; ++slice) {
    cp_async_wait<STAGES - 2>();
    __syncthreads();  // the slice is there, and nobody reads the one before it any more
    start(slice + STAGES - 1, stage == 0 ? STAGES - 1 : stage - 1);
    const SharedPtr<A> a_slice = a_slices + stage * Shape::kASlice;
    const SharedPtr<B> b_slice = b_slices + stage * Shape::kBSlice;
    stage = stage == STAGES - 1 ? 0 : stage + 1;
    if (!busy) continue;
#pragma unroll 2  // loads of one step overlap products of the other; 4 would spill
    for (int s = 0; s < kSteps; ++s) {
      uint32_t a[kMSquares][ASquares<A>::kParts][4], b[kNSquares][4];
#pragma unroll
      for (int i = 0; i < kMSquares; ++i) a_squares.load(a[i], a_slice, i, s, g.parts);
#pragma unroll
      for (int j = 0; j < kNSquares; ++j) b_squares.load(b[j], b_slice, j, s);
#pragma unroll
      for (int part = 0; part < ASquares<A>::kParts; ++part) {
        if (part == 2 && g.parts < 3) break;
#pragma unroll
        for (int j = 0; j < 2 * kNSquares; ++j) {
          const uint32_t pair[2] = {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]};
#pragma unroll
          for (int i = 0; i < kMSquares; ++i) mma_m16n8k16<B>(sum[j][i], a[i][part], pair);
        }
      }
    }
  }

  each_pair([&](const float* sums, float* c, int64_t left) {
    float x = sums[0], y = sums[1];
    if (g.accumulate) {
      x += c[0];
      if (left > 1) y += c[1];
    }
    if (g.c_pairs && left > 1) {
      store_two(c, {{x, y}});
    } else {
      c[0] = x;
      if (left > 1) c[1] = y;
    }
  });
}

template <class T>
TensorOperand<T> tensor_operand(const void* from, int64_t outer, int64_t outer_stride,
                                int64_t k_stride) {
  const T* data = static_cast<const T*>(from);
  // Strides that are both large go element by element, along either.
  const bool along_k = k_stride == 1 || outer_stride != 1;
  const bool wide =
      along_k ? k_stride == 1 && pack_aligned(data, outer_stride) : pack_aligned(data, k_stride);
  return {data, outer, outer_stride, k_stride, along_k, wide};
}

template <class A, class B, int M_TILE, int N_TILE, int WARPS_M, int WARPS_N, int STAGES>
Status run_tensor_tile(Context& context, const GemmArgs& args) {
  using Shape = TensorTile<A, B, M_TILE, N_TILE, WARPS_M, WARPS_N, STAGES>;
  TensorProblem<A, B> g{};
  g.a = tensor_operand<A>(args.a, args.m, args.a_row, args.a_col);
  g.b = tensor_operand<B>(args.b, args.n, args.b_col, args.b_row);
  g.k = args.k;
  g.parts = args.split_in_two ? 2 : 3;
  g.tiles_m = (args.m + M_TILE - 1) / M_TILE;
  g.tiles_n = (args.n + N_TILE - 1) / N_TILE;
  g.c = args.c;
  g.c_row = args.c_row;
  g.accumulate = args.accumulate;
  g.resume = args.resume;
  g.c_pairs = reinterpret_cast<uintptr_t>(args.c) % 8 == 0 && args.c_row % 2 == 0;
  if (g.tiles_m * g.tiles_n > kMaxGridX) {
    return Status::error(Code::range, "gemm: the product is too large");
  }
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(g.tiles_m * g.tiles_n));
  shape.block = dim3(Shape::kThreads);
  shape.dynamic_smem = Shape::kBytes;
  return launch(context, "gemm", shape,
                tensor_kernel<A, B, M_TILE, N_TILE, WARPS_M, WARPS_N, STAGES>, g);
}

// Whether a product is large enough for tiles of this size, and the card for their stages.
inline bool fills(const Context& context, const GemmArgs& g, int64_t m_tile, int64_t n_tile,
                  size_t bytes) {
  const int64_t tiles = (g.m + m_tile - 1) / m_tile * ((g.n + n_tile - 1) / n_tile);
  return 2 * tiles >= context.sm_count && bytes <= context.shared_bytes;
}

// m, n and k are not 0.
template <class T>
Status tensor_product(Context& context, const GemmArgs& g) {
  if (fills(context, g, 128, 256, TensorTile<T, T, 128, 256, 2, 4, 3>::kBytes)) {
    return run_tensor_tile<T, T, 128, 256, 2, 4, 3>(context, g);
  }
  return run_tensor_tile<T, T, 64, 64, 2, 2, 4>(context, g);
}

inline Status split_product(Context& context, const GemmArgs& g) {
  if (fills(context, g, 128, 128, TensorTile<float, bf16, 128, 128, 2, 4, 3>::kBytes)) {
    return run_tensor_tile<float, bf16, 128, 128, 2, 4, 3>(context, g);
  }
  return run_tensor_tile<float, bf16, 64, 64, 2, 2, 3>(context, g);
}

}  // namespace
}  // namespace firesteel

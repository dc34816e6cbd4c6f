// gemm on a card: products of 16-bit operands on the tensor cores (tensor_tile.h), the others in
// f32 on the CUDA cores, by the tile below. There every element of C is one chain of fmaf over p =
// 0 .. k - 1 that starts at 0, or at C where it resumes, whatever tile it falls in: the tile may
// follow the shape, the bits do not.
//
// A thread owns M_THREAD x N_THREAD elements of its block's tile. Slices of K_TILE of both operands
// go through shared memory as floats, two in turn, while the next ones are on their way in
// registers, in their own type.
#include "gemm/gemm.h"

#include "gemm/cublas_lt.h"
#include "gemm/tensor_tile.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/pack.h"

namespace firesteel {
namespace {

// An operand seen as [outer, k]; outer is m or n.
template <class T>
struct Operand {
  const T* data;
  int64_t outer, outer_stride, k_stride;
  bool along_k;  // neighbouring threads walk k, for it has the unit stride
  bool wide;     // loads of four are legal in the direction of neighbouring threads
};

template <class A, class B>
struct Problem {
  Operand<A> a;
  Operand<B> b;
  int64_t k, tiles_n;
  float* c;
  int64_t c_row;
  bool accumulate, resume, c_wide;
};

// One thread's part of an operand's slice: every so many quads one, all at the same depth where
// threads walk k, else all at the same outer index. In shared memory a slice is [DEPTH][OUTER + 4]:
// the pad spreads the banks and keeps rows 16-byte aligned.
template <class T, int OUTER, int DEPTH, int THREADS>
class Slice {
 public:
  static constexpr int kRow = OUTER + 4;
  static constexpr int kFloats = DEPTH * kRow;

  __device__ __forceinline__ Slice(const Operand<T>& x, int64_t outer) {
    const int e = static_cast<int>(threadIdx.x);
    outer_ = x.along_k ? e / (DEPTH / 4) : e % (OUTER / 4) * 4;
    depth_ = x.along_k ? e % (DEPTH / 4) * 4 : e / (OUTER / 4);
    outer_jump_ = x.along_k ? THREADS / (DEPTH / 4) : 0;
    depth_jump_ = x.along_k ? 0 : THREADS / (OUTER / 4);
    from_ = x.data + (outer + outer_) * x.outer_stride + depth_ * x.k_stride;
    outer_left_ = x.outer - outer < OUTER ? static_cast<int>(x.outer - outer) : OUTER;
  }

  // The slice at depth p of k.
  __device__ __forceinline__ void load(const Operand<T>& x, int64_t p, int64_t k) {
    const int depth_left = k - p < DEPTH ? static_cast<int>(k - p) : DEPTH;
    const int64_t step = x.along_k ? x.k_stride : x.outer_stride;
    const int64_t jump = outer_jump_ * x.outer_stride + depth_jump_ * x.k_stride;
#pragma unroll
    for (int s = 0; s < kFours; ++s) {
      const int o = outer_left_ - outer_ - s * outer_jump_;
      const int d = depth_left - depth_ - s * depth_jump_;
      const int left = o <= 0 || d <= 0 ? 0 : x.along_k ? d : o;
      const T* from = from_ + p * x.k_stride + s * jump;
      if (x.wide && left >= 4) {
        four_[s] = load_four(from);
        continue;
      }
      const T zero{};
#pragma unroll
      for (int i = 0; i < 4; ++i) four_[s].x[i] = i < left ? from[i * step] : zero;
    }
  }

  __device__ __forceinline__ void store(SharedPtr<float> shared, bool along_k) const {
    const int step = along_k ? kRow : 1;
#pragma unroll
    for (int s = 0; s < kFours; ++s) {
      const int first = (depth_ + s * depth_jump_) * kRow + outer_ + s * outer_jump_;
#pragma unroll
      for (int i = 0; i < 4; ++i) shared[first + i * step] = widen(four_[s].x[i]);
    }
  }

 private:
  static constexpr int kFours = OUTER * DEPTH / 4 / THREADS;
  static_assert(kFours * 4 * THREADS == OUTER * DEPTH, "threads divide a slice evenly");
  static_assert(THREADS % (DEPTH / 4) == 0 && THREADS % (OUTER / 4) == 0, "");

  const T* from_;
  int outer_, depth_, outer_jump_, depth_jump_, outer_left_;
  Four<T> four_[kFours];
};

template <class A, class B, int M_TILE, int N_TILE, int K_TILE, int M_THREAD, int N_THREAD>
__global__ void __launch_bounds__(M_TILE / M_THREAD * (N_TILE / N_THREAD), 1)
    gemm_kernel(Problem<A, B> g) {
  constexpr int kAcross = N_TILE / N_THREAD;
  constexpr int kThreads = M_TILE / M_THREAD * kAcross;
  // A thread's elements come in runs of four, the runs a fraction of the tile apart, so that
  // neighbouring threads read neighbouring banks.
  constexpr int kMRuns = M_THREAD / 4, kNRuns = N_THREAD / 4;
  using SliceA = Slice<A, M_TILE, K_TILE, kThreads>;
  using SliceB = Slice<B, N_TILE, K_TILE, kThreads>;
  const SharedPtr<float> a_slices = dynamic_smem<float>();
  const SharedPtr<float> b_slices = a_slices + 2 * SliceA::kFloats;

  const int64_t m0 = blockIdx.x / g.tiles_n * M_TILE;
  const int64_t n0 = blockIdx.x % g.tiles_n * N_TILE;
  const int row = static_cast<int>(threadIdx.x) / kAcross * 4;
  const int column = static_cast<int>(threadIdx.x) % kAcross * 4;

  float sum[M_THREAD][N_THREAD] = {};
  // visit(sums, c, left) for every run of four of this thread's elements: the `left` first ones
  // exist in C.
  const auto each_run = [&](auto visit) {
#pragma unroll
    for (int i = 0; i < M_THREAD; ++i) {
      const int64_t r = m0 + i / 4 * (M_TILE / kMRuns) + row + i % 4;
      if (r >= g.a.outer) continue;
#pragma unroll
      for (int run = 0; run < kNRuns; ++run) {
        const int64_t j = n0 + run * (N_TILE / kNRuns) + column;
        visit(sum[i] + run * Quad::size, g.c + r * g.c_row + j, g.b.outer - j);
      }
    }
  };
  if (g.resume) {
    each_run([&](float* sums, const float* c, int64_t left) {
      const Quad old = load_quad(c, left, g.c_wide);
#pragma unroll
      for (int x = 0; x < Quad::size; ++x) sums[x] = old.x[x];
    });
  }
  SliceA a(g.a, m0);
  SliceB b(g.b, n0);
  a.load(g.a, 0, g.k);
  b.load(g.b, 0, g.k);
  int turn = 0;
  for (int64_t p = 0; p < g.k; p += K_TILE, turn ^= 1) {
    const SharedPtr<float> a_slice = a_slices + turn * SliceA::kFloats;
    const SharedPtr<float> b_slice = b_slices + turn * SliceB::kFloats;
    a.store(a_slice, g.a.along_k);
    b.store(b_slice, g.b.along_k);
    __syncthreads();
    if (p + K_TILE < g.k) {
      a.load(g.a, p + K_TILE, g.k);
      b.load(g.b, p + K_TILE, g.k);
    }
#pragma unroll
    for (int d = 0; d < K_TILE; ++d) {
      float x[M_THREAD], y[N_THREAD];
#pragma unroll
      for (int run = 0; run < kMRuns; ++run) {
        const Quad quad = load_pack(a_slice + d * SliceA::kRow + run * (M_TILE / kMRuns) + row);
#pragma unroll
        for (int i = 0; i < Quad::size; ++i) x[run * Quad::size + i] = quad.x[i];
      }
#pragma unroll
      for (int run = 0; run < kNRuns; ++run) {
        const Quad quad = load_pack(b_slice + d * SliceB::kRow + run * (N_TILE / kNRuns) + column);
#pragma unroll
        for (int j = 0; j < Quad::size; ++j) y[run * Quad::size + j] = quad.x[j];
      }
#pragma unroll
      for (int i = 0; i < M_THREAD; ++i) {
#pragma unroll
        for (int j = 0; j < N_THREAD; ++j) sum[i][j] = fmaf(x[i], y[j], sum[i][j]);
      }
    }
  }

  each_run([&](const float* sums, float* c, int64_t left) {
    Quad out;
#pragma unroll
    for (int x = 0; x < Quad::size; ++x) out.x[x] = sums[x];
    if (g.accumulate) {
      const Quad old = load_quad(c, left, g.c_wide);
#pragma unroll
      for (int x = 0; x < Quad::size; ++x) out.x[x] += old.x[x];
    }
    store_quad(c, out, left, g.c_wide);
  });
}

template <class T>
Operand<T> operand(const void* from, int64_t outer, int64_t outer_stride, int64_t k_stride) {
  const T* data = static_cast<const T*>(from);
  const bool along_k = k_stride == 1;
  const bool wide = along_k ? four_aligned(data, outer_stride)
                            : outer_stride == 1 && four_aligned(data, k_stride);
  return {data, outer, outer_stride, k_stride, along_k, wide};
}

template <class A, class B, int M_TILE, int N_TILE, int K_TILE, int M_THREAD, int N_THREAD>
Status run(Context& context, const GemmArgs& args) {
  Problem<A, B> g{};
  g.a = operand<A>(args.a, args.m, args.a_row, args.a_col);
  g.b = operand<B>(args.b, args.n, args.b_col, args.b_row);
  g.k = args.k;
  g.tiles_n = (args.n + N_TILE - 1) / N_TILE;
  g.c = args.c;
  g.c_row = args.c_row;
  g.accumulate = args.accumulate;
  g.resume = args.resume;
  g.c_wide = pack_aligned(args.c, args.c_row);
  const int64_t blocks = (args.m + M_TILE - 1) / M_TILE * g.tiles_n;
  if (blocks > kMaxGridX) return Status::error(Code::range, "gemm: the product is too large");
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(blocks));
  shape.block = dim3(M_TILE / M_THREAD * (N_TILE / N_THREAD));
  shape.dynamic_smem = sizeof(float) * 2 * K_TILE * (M_TILE + 4 + N_TILE + 4);
  return launch(context, "gemm", shape,
                gemm_kernel<A, B, M_TILE, N_TILE, K_TILE, M_THREAD, N_THREAD>, g);
}

// Rows of a decoding step fit the flat tile, which keeps more of the weights in flight; the large
// tile pays once there are enough of them to occupy every multiprocessor.
constexpr int64_t kFlatRows = 16;
constexpr int64_t kLarge = 128;

// What NVIDIA recommends for Hopper; less costs algorithms.
constexpr int64_t kCublasWorkspace = 32 << 20;

// On the CUDA cores.
template <class A, class B>
Status plain_product(Context& context, const GemmArgs& args) {
  if (args.m <= kFlatRows) return run<A, B, 16, 64, 16, 4, 4>(context, args);
  const int64_t large = (args.m + kLarge - 1) / kLarge * ((args.n + kLarge - 1) / kLarge);
  if (large >= context.sm_count) return run<A, B, 128, 128, 8, 8, 8>(context, args);
  return run<A, B, 64, 64, 16, 4, 4>(context, args);
}

}  // namespace

int64_t gemm_workspace(int64_t, int64_t, int64_t, bool) {
  return 0;
}

Status matmul_open(Context& context, MatmulChoice choice, MatmulInfo* info) {
  if (choice == MatmulChoice::own) return {};
  const Status opened = CublasLt::open(&context.cublas_lt);
  if (!opened.ok()) {
    info->detail = opened.message;
    if (choice == MatmulChoice::automatic) return {};
    return Status::error(Code::no_device, "matmul: \"cublas\": " + opened.message);
  }
  info->cublas = true;
  info->detail = context.cublas_lt->description();
  info->workspace_bytes = kCublasWorkspace;
  return {};
}
void matmul_use_workspace(Context& context, void* data, int64_t bytes) {
  if (context.cublas_lt) context.cublas_lt->set_workspace(data, bytes);
}

Status gemm(Context& context, const GemmArgs& args) {
  const bool plain = args.a_type == DType::f32;
  if (args.b_type > DType::f16 || (!plain && args.a_type != args.b_type)) {
    return Status::error(Code::dtype, "gemm: expected B of f32, bf16 or f16 and A as B or f32");
  }
  if (args.m == 0 || args.n == 0) return {};
  if (args.k == 0 && (args.accumulate || args.resume)) return {};
  if (context.cublas_lt && !plain) {
    bool done = false;
    const Status library = context.cublas_lt->multiply(args, context.stream, &done);
    if (!library.ok() || done) return library;
  }
  if (args.b_type == DType::f32) return plain_product<float, float>(context, args);
  if (args.b_type == DType::bf16) {
    return plain ? split_product(context, args) : tensor_product<bf16>(context, args);
  }
  // f32 does not split into f16: its exponents reach further.
  return plain ? plain_product<float, f16>(context, args) : tensor_product<f16>(context, args);
}

}  // namespace firesteel

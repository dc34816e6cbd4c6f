// Tensor-core products, their fragments and the copies that feed them, on the emulated card: where
// every element of a fragment lies, and that a missing wait or barrier is a failed launch.
#include <stdint.h>

#include "cuda_arrays.h"
#include "runtime/cuda/mma.h"

namespace firesteel {
namespace {

template <class... Params, class... Args>
Status run(int warps, void (*kernel)(Params...), Args... args) {
  Context context;
  return launch(context, "the_kernel", {dim3(1), dim3(static_cast<unsigned>(32 * warps))}, kernel,
                args...);
}

void check_failure(const Status& status, const std::string& why) {
  CAPTURE(status.message);
  CHECK(!status.ok());
  CHECK(status.message.find(why) != std::string::npos);
}

template <class T>
std::vector<T> narrowed(const Array& values) {
  std::vector<T> out;
  for (float x : values) out.push_back(from_float<T>(x));
  return out;
}

// Distinct, exact in both 16-bit types, so that one element in the wrong place shows.
Array distinct(int count, int seed) {
  Array values;
  for (int i = 0; i < count; ++i) {
    const int mixed = (i * 37 + seed) % 256;
    values.push_back((mixed % 2 == 0 ? 1.0f : -1.0f) * static_cast<float>(mixed) / 16.0f);
  }
  return values;
}

// D = C + A B with every fragment filled element by element, as the comment in mma.h lays it out.
template <class T>
__global__ void mma_kernel(const T* a, const T* b, float* c) {
  const int g = static_cast<int>(threadIdx.x) / 4, t = static_cast<int>(threadIdx.x) % 4;
  const auto pair = [](T low, T high) {
    return static_cast<uint32_t>(low.bits) | static_cast<uint32_t>(high.bits) << 16;
  };
  uint32_t x[4], y[2];
  for (int r = 0; r < 4; ++r) {
    const T* from = a + (g + r % 2 * 8) * 16 + 2 * t + r / 2 * 8;
    x[r] = pair(from[0], from[1]);
  }
  for (int r = 0; r < 2; ++r) {
    const T* from = b + (2 * t + r * 8) * 8 + g;
    y[r] = pair(from[0], from[8]);
  }
  float d[4];
  for (int r = 0; r < 4; ++r) d[r] = c[(g + r / 2 * 8) * 8 + 2 * t + r % 2];
  mma_m16n8k16<T>(d, x, y);
  for (int r = 0; r < 4; ++r) c[(g + r / 2 * 8) * 8 + 2 * t + r % 2] = d[r];
}

template <class T>
void check_mma(const Array& a, const Array& b, const Array& c) {
  const std::vector<T> x = narrowed<T>(a), y = narrowed<T>(b);
  in_every_order([&](Context&) {
    Array d = c;
    must(run(1, mma_kernel<T>, x.data(), y.data(), d.data()));
    for (size_t i = 0; i < d.size(); ++i) {
      double sum = static_cast<double>(c[i]), size = std::fabs(sum);
      for (size_t k = 0; k < 16; ++k) {
        const double product =
            static_cast<double>(to_float(x[i / 8 * 16 + k]) * to_float(y[k * 8 + i % 8]));
        sum += product;
        size += std::fabs(product);
      }
      CHECK(std::fabs(static_cast<double>(d[i]) - sum) <= 0x1p-22 * size);
    }
  });
}

TEST_CASE("mma: the product of every fragment, both types") {
  check_mma<bf16>(distinct(256, 3), distinct(128, 11), random_array(128, 1));
  check_mma<f16>(distinct(256, 5), distinct(128, 7), random_array(128, 2));
  check_mma<bf16>(random_array(256, 1, -1e18f, 1e18f), random_array(128, 2, -1e-18f, 1e-18f),
                  random_array(128, 3));
  // Subnormal and the largest halves: their products are exact in float.
  check_mma<f16>(random_array(256, 1, -6e-5f, 6e-5f), random_array(128, 2, -6e4f, 6e4f),
                 Array(128, 0.0f));
}

TEST_CASE("mma: NaN and infinity stay in their row and column") {
  Array a = distinct(256, 1), b = distinct(128, 2);
  a[5 * 16 + 3] = kNaN;
  b[9 * 8 + 6] = kInfinity;
  const std::vector<bf16> x = narrowed<bf16>(a), y = narrowed<bf16>(b);
  Array d(128, 0.0f);
  must(run(1, mma_kernel<bf16>, x.data(), y.data(), d.data()));
  for (size_t i = 0; i < d.size(); ++i) CHECK(std::isfinite(d[i]) == (i / 8 != 5 && i % 8 != 6));
}

// The registers of every lane, for a 32-row matrix of which row r stands at 16 r bytes.
template <bool TRANS>
__global__ void ldmatrix_kernel(uint32_t* four, uint32_t* two) {
  FIRESTEEL_SHARED(f16, rows, 32 * 8);
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = 0; i < 8; ++i) rows[lane * 8 + i] = f16{static_cast<uint16_t>(lane * 8 + i)};
  __syncwarp();
  uint32_t x[4], y[2];
  ldmatrix_x4<TRANS>(x, rows + lane * 8);
  ldmatrix_x2<TRANS>(y, rows + (lane * 8 + 128) % 256);  // the lower half first
  for (int j = 0; j < 4; ++j) four[lane * 4 + j] = x[j];
  for (int j = 0; j < 2; ++j) two[lane * 2 + j] = y[j];
}

template <bool TRANS>
void check_ldmatrix() {
  std::vector<uint32_t> four(128), two(64);
  must(run(1, ldmatrix_kernel<TRANS>, four.data(), two.data()));
  const auto element = [](uint32_t matrix, uint32_t row, uint32_t column) {
    return TRANS ? matrix * 64 + column * 8 + row : matrix * 64 + row * 8 + column;
  };
  for (uint32_t lane = 0; lane < 32; ++lane) {
    const uint32_t g = lane / 4, t = lane % 4;
    for (uint32_t j = 0; j < 4; ++j) {
      CHECK(four[lane * 4 + j] == (element(j, g, 2 * t) | element(j, g, 2 * t + 1) << 16));
    }
    for (uint32_t j = 0; j < 2; ++j) {
      CHECK(two[lane * 2 + j] == (element(j + 2, g, 2 * t) | element(j + 2, g, 2 * t + 1) << 16));
    }
  }
}

TEST_CASE("ldmatrix: every lane's elements, plain and transposed") {
  in_every_order([](Context&) {
    check_ldmatrix<false>();
    check_ldmatrix<true>();
  });
}

// The way through shared memory that a kernel takes: A row-major, B row-major (TRANS) or as B^T.
template <class T, bool TRANS>
__global__ void tile_kernel(const T* a, const T* b, float* c) {
  FIRESTEEL_SHARED(T, a_tile, 256);
  FIRESTEEL_SHARED(T, b_tile, 128);
  const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
  cp_async_16(a_tile + lane * 8, a + lane * 8);
  if (lane < 16) cp_async_16(b_tile + lane * 8, b + lane * 8);
  cp_async_commit();
  cp_async_wait<0>();
  __syncwarp();
  uint32_t x[4], y[2];
  ldmatrix_x4(x, a_tile + lane % 16 * 16 + lane / 16 * 8);
  if (TRANS) {
    ldmatrix_x2<true>(y, b_tile + lane % 16 * 8);
  } else {
    ldmatrix_x2(y, b_tile + lane % 8 * 16 + lane / 8 % 2 * 8);
  }
  float d[4] = {};
  mma_m16n8k16<T>(d, x, y);
  for (int r = 0; r < 4; ++r) c[(g + r / 2 * 8) * 8 + 2 * t + r % 2] = d[r];
}

template <class T>
void check_tile() {
  alignas(16) T a[256], b[128], across[128];
  const Array x = distinct(256, 1), y = distinct(128, 2);
  for (size_t i = 0; i < 256; ++i) a[i] = from_float<T>(x[i]);
  for (size_t i = 0; i < 128; ++i) {
    b[i] = from_float<T>(y[i]);
    across[i % 8 * 16 + i / 8] = b[i];
  }
  Array plain(128), direct(128), turned(128);
  must(run(1, mma_kernel<T>, a, b, plain.data()));
  must(run(1, tile_kernel<T, true>, a, b, direct.data()));
  must(run(1, tile_kernel<T, false>, a, across, turned.data()));
  CHECK(same_bits(direct, plain));
  CHECK(same_bits(turned, plain));
}

TEST_CASE("copies, fragments and products together") {
  in_every_order([](Context&) {
    check_tile<bf16>();
    check_tile<f16>();
  });
}

__global__ void part_kernel(const float* from, float* to, int bytes) {
  FIRESTEEL_SHARED(float, cells, 4 * 32);
  const int lane = static_cast<int>(threadIdx.x);
  cp_async_16(cells + 4 * lane, from, bytes);
  cp_async_commit();
  cp_async_wait<0>();
  for (int i = 0; i < 4; ++i) to[4 * lane + i] = cells[4 * lane + i];
}

TEST_CASE("cp_async fills with zeros, and with 0 bytes does not read") {
  alignas(16) const float from[4] = {1, 2, 3, 4};
  Array to(128);
  for (int bytes : {0, 4, 8, 12, 16}) {
    must(run(1, part_kernel, bytes == 0 ? nullptr : from, to.data(), bytes));
    for (int i = 0; i < 128; ++i) {
      CHECK(to[static_cast<size_t>(i)] == (i % 4 < bytes / 4 ? from[i % 4] : 0.0f));
    }
  }
  check_failure(run(1, part_kernel, from, to.data(), 17), "0 to 16 bytes");
  check_failure(run(1, part_kernel, from + 1, to.data(), 16), "not aligned");
  const auto* nowhere = reinterpret_cast<const float*>(uintptr_t{64});
  check_failure(run(1, part_kernel, nowhere, to.data(), 16), "illegal memory access");
}

// Two groups of one copy each; `left` of them may still be on their way when `read` is read.
enum class Wait { none, one_left, all };
__global__ void groups_kernel(const float* from, float* to, int read, Wait wait, bool commit) {
  FIRESTEEL_SHARED(float, cells, 2 * 4 * 32);
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = 0; i < 2; ++i) {
    cp_async_16(cells + 128 * i + 4 * lane, from + 4 * i);
    if (i == 0 || commit) cp_async_commit();
  }
  if (wait == Wait::one_left) cp_async_wait<1>();
  if (wait == Wait::all) cp_async_wait<0>();
  to[lane] = cells[128 * read + 4 * lane];
}

TEST_CASE("what is not awaited is not there") {
  alignas(16) const float from[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  Array to(32);
  const std::string why = "has not awaited a copy into it";
  in_every_order([&](Context&) {
    must(run(1, groups_kernel, from, to.data(), 0, Wait::one_left, true));
    CHECK(to[31] == 1.0f);
    must(run(1, groups_kernel, from, to.data(), 1, Wait::all, true));
    CHECK(to[31] == 5.0f);
    check_failure(run(1, groups_kernel, from, to.data(), 0, Wait::none, true), why);
    check_failure(run(1, groups_kernel, from, to.data(), 1, Wait::one_left, true), why);
    // Without a commit there is no second group: the first is the newest.
    check_failure(run(1, groups_kernel, from, to.data(), 1, Wait::all, false), why);
    check_failure(run(1, groups_kernel, from, to.data(), 0, Wait::one_left, false), why);
  });
}

// Each thread reads what its neighbour copied, or overwrites what others still read.
enum class Mistake { none, no_barrier, refill, store };
__global__ void neighbours_kernel(const float* from, float* to, Mistake mistake) {
  FIRESTEEL_SHARED(float, cells, 4 * 64);
  const int self = static_cast<int>(threadIdx.x), other = (self + 33) % 64;
  cp_async_16(cells + 4 * self, from);
  cp_async_commit();
  if (mistake == Mistake::store) cells[4 * self] = 1.0f;
  cp_async_wait<0>();
  if (mistake != Mistake::no_barrier) __syncthreads();
  to[self] = cells[4 * other];
  if (mistake != Mistake::refill) __syncthreads();
  cp_async_16(cells + 4 * self, from);
}

TEST_CASE("a copy is a write of its thread, from its start to the wait") {
  alignas(16) const float from[4] = {1, 2, 3, 4};
  Array to(64);
  in_every_order([&](Context&) {
    must(run(2, neighbours_kernel, from, to.data(), Mistake::none));
    CHECK(to[0] == 1.0f);
    // By the order of threads the other's copy has not begun, is on its way, or has arrived.
    CHECK(!run(2, neighbours_kernel, from, to.data(), Mistake::no_barrier).ok());
    CHECK(!run(2, neighbours_kernel, from, to.data(), Mistake::refill).ok());
    check_failure(run(2, neighbours_kernel, from, to.data(), Mistake::store), "is written while");
  });
}

__global__ void unordered_fragment_kernel(uint32_t* out, bool barrier) {
  FIRESTEEL_SHARED(bf16, rows, 32 * 8);
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = 0; i < 8; ++i) rows[(31 - lane) * 8 + i] = bf16{static_cast<uint16_t>(lane)};
  if (barrier) __syncwarp();
  uint32_t x[4];
  ldmatrix_x4(x, rows + lane * 8);
  out[lane] = x[0];
}
__global__ void odd_row_kernel(uint32_t* out) {
  FIRESTEEL_SHARED(bf16, rows, 33 * 8);
  uint32_t x[4];
  ldmatrix_x4(x, rows + static_cast<int>(threadIdx.x) * 8 + 1);
  out[threadIdx.x] = x[0];
}
__global__ void half_warp_kernel(float* out) {
  float d[4] = {};
  const uint32_t a[4] = {}, b[2] = {};
  if (threadIdx.x < 16) mma_m16n8k16<bf16>(d, a, b);
  out[threadIdx.x] = d[0];
}
__global__ void two_places_kernel(float* out) {
  float d[4] = {};
  const uint32_t a[4] = {}, b[2] = {};
  if (threadIdx.x < 16) {
    mma_m16n8k16<bf16>(d, a, b);
  } else {
    mma_m16n8k16<f16>(d, a, b);
  }
  out[threadIdx.x] = d[0];
}

TEST_CASE("fragments are read through the checks, by whole warps") {
  std::vector<uint32_t> out(32);
  Array sums(32);
  in_every_order([&](Context&) {
    must(run(1, unordered_fragment_kernel, out.data(), true));
    CHECK(!run(1, unordered_fragment_kernel, out.data(), false).ok());
    check_failure(run(1, odd_row_kernel, out.data()), "not aligned to 16 bytes");
    CHECK(!run(1, half_warp_kernel, sums.data()).ok());
    check_failure(run(1, two_places_kernel, sums.data()), "divergent warp");
  });
}

}  // namespace
}  // namespace firesteel

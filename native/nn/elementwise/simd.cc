#include "nn/elementwise/table.h"

#include "runtime/simd/vectors.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

template <class T>
void add(int64_t count, const void* left, const void* right, void* out) {
  const T *const a = static_cast<const T*>(left), *const b = static_cast<const T*>(right);
  T* const y = static_cast<T*>(out);
  each_vector(count, [=](int64_t i, int n) {
    store_some(y + i, load_some(a + i, n) + load_some(b + i, n), n);
  });
}

template <class T>
void add_bias(int64_t rows, int64_t width, const void* x, const void* bias, void* y) {
  for (int64_t r = 0; r < rows; ++r) {
    add<T>(width, static_cast<const T*>(x) + r * width, bias, static_cast<T*>(y) + r * width);
  }
}

template <class T>
void sum_rows(int64_t rows, int64_t cols, int64_t stride, const void* from, float* y) {
  const T* const x = static_cast<const T*>(from);
  each_vector(cols, [=](int64_t j, int n) {
    F32 sum = 0.0f;
    for (int64_t r = 0; r < rows; ++r) sum = sum + load_some(x + r * stride + j, n);
    store_some(y + j, sum, n);
  });
}

template <class T>
void scale(int64_t count, float a, const void* from, void* to, bool accumulate) {
  const T* const x = static_cast<const T*>(from);
  T* const y = static_cast<T*>(to);
  if (accumulate) {
    each_vector(count, [=](int64_t i, int n) {
      store_some(y + i, fma(a, load_some(x + i, n), load_some(y + i, n)), n);
    });
  } else {
    each_vector(count, [=](int64_t i, int n) { store_some(y + i, load_some(x + i, n) * a, n); });
  }
}

template <class T>
void fill(int64_t count, float value, void* to) {
  T* const y = static_cast<T*>(to);
  each_vector(count, [=](int64_t i, int n) { store_some(y + i, value, n); });
}

template <class From, class To>
void convert(int64_t count, const void* x, void* y) {
  const From* from = static_cast<const From*>(x);
  To* to = static_cast<To*>(y);
  each_vector(count, [=](int64_t i, int n) { store_some(to + i, load_some(from + i, n), n); });
}

template <class From>
void convert_to(int64_t count, const void* x, void* y, DType to) {
  switch (to) {
    case DType::bf16:
      return convert<From, bf16>(count, x, y);
    case DType::f16:
      return convert<From, f16>(count, x, y);
    default:
      return convert<From, float>(count, x, y);
  }
}

void cast(int64_t count, const void* x, DType from, void* y, DType to) {
  switch (from) {
    case DType::bf16:
      return convert_to<bf16>(count, x, y, to);
    case DType::f16:
      return convert_to<f16>(count, x, y, to);
    default:
      return convert_to<float>(count, x, y, to);
  }
}

}  // namespace

extern const ElementwiseTable elementwise_table;
const ElementwiseTable elementwise_table = {
    {add<float>, add<bf16>, add<f16>},
    {add_bias<float>, add_bias<bf16>, add_bias<f16>},
    {sum_rows<float>, sum_rows<bf16>, sum_rows<f16>},
    {scale<float>, scale<bf16>, scale<f16>},
    {fill<float>, fill<bf16>, fill<f16>},
    cast,
};

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel

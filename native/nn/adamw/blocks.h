// Several tensors cut into blocks of at most `size` elements, numbered tensor after tensor.
#pragma once
#include <stdint.h>
#include "runtime/dtype.h"

namespace firesteel {

struct TensorBlock {
  int tensor;
  int64_t begin, count;  // elements
};

// Args has `tensors` and tensor[i].count.
template <class Args>
FIRESTEEL_HD inline int64_t tensor_blocks(const Args& a, int64_t size) {
  int64_t blocks = 0;
  for (int i = 0; i < a.tensors; ++i) blocks += (a.tensor[i].count + size - 1) / size;
  return blocks;
}

// number < tensor_blocks(a, size)
template <class Args>
FIRESTEEL_HD inline TensorBlock tensor_block(const Args& a, int64_t size, int64_t number) {
  int i = 0;
  for (;; ++i) {
    const int64_t blocks = (a.tensor[i].count + size - 1) / size;
    if (number < blocks) break;
    number -= blocks;
  }
  const int64_t begin = number * size, left = a.tensor[i].count - begin;
  return {i, begin, left < size ? left : size};
}

}  // namespace firesteel

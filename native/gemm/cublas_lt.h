// cuBLASLt, opened at run time: products of 16-bit operands with f32 sums. Nothing of it is needed
// to build or to load the addon.
//
// Accuracy: that of gemm on tensor cores (gemm.h), K 2^-22 sum |a b|. The same shape, layout and
// alignment give the same algorithm and so the same bits on a card and a version; rows do not keep
// their bits in another batch.
#pragma once
#include <stdint.h>

#include <memory>
#include <string>

#include "gemm/gemm.h"

namespace firesteel {

class CublasLt {
 public:
  // Where FIRESTEEL_CUBLASLT says, else where the system finds libcublasLt.so.13 or .12. An error
  // names what was tried.
  static Status open(std::shared_ptr<CublasLt>* out);
  ~CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  const std::string& description() const { return description_; }
  // Memory on the device that products may use, in stream order. Without it they use none.
  void set_workspace(void* data, int64_t bytes);

  // Enqueues the product on the stream (a cudaStream_t). *done stays false where the library has no
  // algorithm for it, or no way to say its strides. m, n and k are not 0.
  Status multiply(const GemmArgs& g, void* stream, bool* done);

 private:
  struct Api;
  struct Shape;
  struct Plans;

  CublasLt();
  Status load(const std::string& path);

  std::unique_ptr<Api> api_;
  std::unique_ptr<Plans> plans_;
  void* handle_ = nullptr;
  void* workspace_ = nullptr;
  uint64_t workspace_bytes_ = 0;
  std::string description_;
};

}  // namespace firesteel

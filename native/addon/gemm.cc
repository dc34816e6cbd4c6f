#include "gemm/gemm.h"

#include "addon/call.h"
#include "addon/engine.h"

namespace firesteel {
namespace {

// (engine, m, n, k, transposeA, transposeB, accumulate, dtype of a, of b, a, b, c); all contiguous.
napi_value run(napi_env env, napi_callback_info info) {
  Call call(env, info, "matmul");
  GemmArgs g{};
  g.m = call.integer();
  g.n = call.integer();
  g.k = call.integer();
  const bool transpose_a = call.flag(), transpose_b = call.flag();
  g.accumulate = call.flag();
  g.a_type = call.dtype();
  g.b_type = call.dtype();
  g.a = call.input(g.a_type, g.m * g.k);
  g.b = call.input(g.b_type, g.k * g.n);
  g.c = g.accumulate ? call.update<float>(g.m * g.n) : call.output<float>(g.m * g.n);
  g.a_row = transpose_a ? 1 : g.k;
  g.a_col = transpose_a ? g.m : 1;
  g.b_row = transpose_b ? 1 : g.n;
  g.b_col = transpose_b ? g.k : 1;
  g.c_row = g.n;
  g.workspace = call.workspace(gemm_workspace(g.m, g.n, g.k, g.accumulate));
  // About 8 flops in the time of a byte.
  return call.enqueue(g.m * g.n * g.k / 4, [g](Context& context) { return gemm(context, g); });
}

}  // namespace

void register_gemm(napi_env env, napi_value exports) {
  export_function(env, exports, "gemm", run);
}

}  // namespace firesteel

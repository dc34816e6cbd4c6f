// What the tokens of a row share comes first, from surrogate's kernels; then one pass over the
// logits; then surrogate itself for loss and metrics, from a few numbers a token.
#include "kernels/surrogate/cuda_sums.h"
#include "kernels/token_loss/checks.h"
#include "kernels/token_loss/cuda_row.h"
#include "runtime/float_type.h"

namespace firesteel {
namespace {

constexpr int64_t kSharedAside = int64_t{8} << 10;  // of a block, beside what it keeps of the row
constexpr int kBlocks = 4;                          // that share a multiprocessor, if they can

template <class T>
int64_t kept_bytes(int64_t segments) {
  return segments * kSegment<T> * static_cast<int64_t>(sizeof(T));
}

// Blocks small enough that several share a multiprocessor, some loading while others store, and
// warps to fill it; more blocks where there are few rows.
template <class T>
Plan fused_plan(const Context& context, int64_t tokens, int64_t vocab, int* slots) {
  Plan plan = parts_of<T>(vocab);
  const auto need = [&] { return (plan.segments + plan.cluster - 1) / plan.cluster; };
  const auto shared = [&] { return kept_bytes<T>(need()) + kSharedAside; };
  const int64_t all = static_cast<int64_t>(context.shared_bytes);
  while (plan.cluster < context.max_cluster && 2 * plan.cluster <= plan.parts &&
         (shared() > all / kBlocks ||
          tokens * plan.cluster < kWaves * resident_blocks(context, kRowWarps))) {
    plan.cluster *= 2;
  }
  const int64_t blocks = all / shared();
  while (plan.warps * plan.cluster < plan.parts && plan.warps < kResidentWarps &&
         plan.warps * blocks < kResidentWarps) {
    plan.warps *= 2;
  }
  const int64_t room = (all - kSharedAside) / kept_bytes<T>(1);
  *slots = need() < room ? need() : static_cast<int>(room);
  return plan;
}

template <class T>
Status take_rows(Context& context, TokenLossCall call) {
  const int64_t tokens = call.rows.tokens;
  call.plan = fused_plan<T>(context, tokens, call.rows.vocab, &call.slots);
  if (tokens > kMaxGridX / call.plan.cluster) return too_many_rows(tokens, call.plan.cluster);
  LaunchShape shape = row_shape(call.plan, tokens);
  shape.dynamic_smem = static_cast<size_t>(kept_bytes<T>(call.slots));
  return launch(context, "token_loss", shape, token_loss_kernel<T>, call);
}

Status take_rows(Context& context, const TokenLossCall& call) {
  return with_float_type(call.rows.dtype,
                         [&](auto x) { return take_rows<decltype(x)>(context, call); });
}

// Lays out the workspace from `memory` on; returns its size. `faults` are surrogate's, which are
// those of the row kernel again, by row.
int64_t lay_out(TokenLossCall& call, FaultWord*& faults, int64_t tokens, int64_t rows,
                char* memory) {
  int64_t used = take_array(faults, 1, memory, 0);
  used = take_array(call.units, rows, memory, used);
  return take_array(call.row_of, tokens, memory, used);
}

}  // namespace

int64_t token_loss_workspace(int64_t tokens, int64_t rows) {
  TokenLossCall call{};
  FaultWord* faults;
  return lay_out(call, faults, tokens, rows, nullptr);
}

Status token_loss(Context& context, const TokenLossArgs& a) {
  const Status refusal = token_loss_refusal(a);
  if (!refusal.ok()) return refusal;
  TokenLossCall call{};
  FaultWord* unread;
  lay_out(call, unread, a.loss.tokens, a.loss.rows, static_cast<char*>(a.workspace));
  SurrogateArgs loss = a.loss;
  loss.faults = unread;
  call.rows = a.logits;
  call.rows.mask = loss.mask;
  call.loss = call_of(loss);
  call.log_prob = a.log_prob;
  call.entropy = a.entropy;
  call.d_logits = a.d_logits;
  call.d_row_stride = a.d_row_stride;
  call.faults = a.faults;

  SurrogateLaunches sums{context, call.loss, {}};
  run_sums(sums);
  if (!sums.status.ok()) return sums.status;
  const int64_t items = loss.tokens > loss.rows ? loss.tokens : loss.rows;
  const Status shared =
      launch(context, "token_loss", blocks_shape(row_blocks(items), kThreads), units_kernel, call);
  if (!shared.ok()) return shared;
  const Status taken = take_rows(context, call);
  return taken.ok() ? surrogate(context, loss) : taken;
}

}  // namespace firesteel

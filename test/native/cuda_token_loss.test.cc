// token_loss on the emulated card against log_prob, surrogate and the backward pass one after the
// other: the same bits, however the row starts, however many blocks share it and however much of it
// stays on the chip.
#include <doctest/doctest.h>

#include "cuda_arrays.h"
#include "kernels/token_loss/token_loss.h"
#include "runtime/scalar.h"
#include "surrogate_batch.h"

namespace firesteel {
namespace {

constexpr int64_t kBehind = 16;  // elements behind the last row, which nobody may touch

// Rows of logits or of their gradient: bytes, and where the rows start.
struct Matrix {
  DType dtype;
  int64_t tokens, vocab, stride, start;
  std::vector<uint8_t> bytes;

  Matrix(DType t, int64_t n, int64_t v, int64_t s, int64_t begin)
      : dtype(t), tokens(n), vocab(v), stride(s), start(begin) {
    bytes.assign(static_cast<size_t>((start + n * s + kBehind) * size_of(t)), 0xff);  // NaN
  }
  uint8_t* at(int64_t row, int64_t column) {
    return bytes.data() + (start + row * stride + column) * size_of(dtype);
  }
  void set(int64_t row, int64_t column, float x) {
    const bf16 b = from_float<bf16>(x);
    const f16 h = from_float<f16>(x);
    const void* value = dtype == DType::f32    ? static_cast<const void*>(&x)
                        : dtype == DType::bf16 ? static_cast<const void*>(&b)
                                               : static_cast<const void*>(&h);
    std::memcpy(at(row, column), value, static_cast<size_t>(size_of(dtype)));
  }
};

struct Batch {
  Matrix logits;
  std::vector<int32_t> targets, rows;
  std::vector<uint8_t> mask;
  Array old_log_prob, advantage, temperatures;
  bool entropy = true, in_place = true;
  int64_t d_stride = 0, d_start = 0;  // where not in place

  SurrogateArgs loss() const {
    SurrogateArgs a = surrogate_defaults();
    a.tokens = logits.tokens;
    a.rows = static_cast<int64_t>(rows.size()) - 1;
    a.row_offsets = rows.data();
    a.old_log_prob = old_log_prob.data();
    a.advantage = advantage.data();
    a.mask = mask.empty() ? nullptr : mask.data();
    a.aggregation = Aggregation::seq_mean_token_mean;
    a.entropy_coefficient = entropy ? 0.3f : 0.0f;
    return a;
  }
};

Batch batch_of(DType dtype, int64_t vocab, int64_t stride, int64_t start = 0) {
  const std::vector<int> lengths = {2, 0, 3, 1};
  Batch b{Matrix(dtype, 6, vocab, stride, start), {}, offsets_of(lengths), {}, {}, {}, {}};
  const Array x = random_array(6 * vocab, 3, -4.0f, 4.0f);
  for (int64_t t = 0; t < 6; ++t) {
    for (int64_t v = 0; v < vocab; ++v) {
      b.logits.set(t, v, x[static_cast<size_t>(t * vocab + v)]);
    }
    b.targets.push_back(static_cast<int32_t>(t == 1 ? vocab - 1 : t * 7919 % vocab));
    b.logits.set(t, b.targets.back(), 5.0f);
  }
  const float near = -std::log(static_cast<float>(vocab));
  b.old_log_prob = random_array(6, 4, near, near + 3.0f);
  b.advantage = {1.5f, -0.5f, -2.0f, 0.7f};
  b.temperatures = random_array(6, 5, 0.5f, 1.5f);
  b.mask = {1, 1, 0, 1, 1, 1};
  return b;
}

struct Outputs {
  Array log_prob, entropy, d_log_prob, d_entropy, mismatch_weight;
  std::vector<double> loss, metrics;
  std::vector<uint8_t> logits, d_logits;
  Faults faults;

  void wire(SurrogateArgs& a, const Batch& b) {
    const size_t n = static_cast<size_t>(a.tokens);
    for (Array* array : {&log_prob, &entropy, &d_log_prob, &d_entropy, &mismatch_weight}) {
      array->assign(n, 77.0f);
    }
    loss.assign(1, 0.0);
    metrics.assign(kMetricCount, 0.0);
    a.log_prob = log_prob.data();
    a.entropy = b.entropy ? entropy.data() : nullptr;
    a.loss = loss.data();
    a.d_log_prob = d_log_prob.data();
    a.d_entropy = b.entropy ? d_entropy.data() : nullptr;
    a.mismatch_weight = mismatch_weight.data();
    a.metrics = metrics.data();
  }
};

std::vector<uint8_t> memory(int64_t bytes) {
  return std::vector<uint8_t>(static_cast<size_t>(bytes), 0xa5);
}
std::vector<uint8_t> workspace_of(const SurrogateArgs& a) {
  return memory(surrogate_workspace(a.tokens, a.rows, 0, 0));
}

LogProbRows rows_of(Batch& b) {
  LogProbRows r{};
  r.logits = b.logits.at(0, 0);
  r.dtype = b.logits.dtype;
  r.tokens = b.logits.tokens;
  r.vocab = b.logits.vocab;
  r.row_stride = b.logits.stride;
  r.targets = b.targets.data();
  r.mask = b.mask.empty() ? nullptr : b.mask.data();
  r.temperatures = b.temperatures.data();
  return r;
}

// The three calls.
Outputs apart(Context& context, Batch b) {
  Outputs out;
  SurrogateArgs loss = b.loss();
  out.wire(loss, b);
  Array stats(static_cast<size_t>(2 * loss.tokens));
  LogProbArgs forward{};
  static_cast<LogProbRows&>(forward) = rows_of(b);
  forward.log_prob = out.log_prob.data();
  forward.entropy = out.entropy.data();
  forward.stats = stats.data();
  forward.faults = &out.faults;
  must(log_prob_forward(context, forward));
  std::vector<uint8_t> workspace = workspace_of(loss);
  Faults by_row;
  loss.faults = &by_row;
  loss.workspace = workspace.data();
  must(surrogate(context, loss));
  // What the loss leaves out is a fault of the token.
  for (size_t t = 0; t < out.log_prob.size(); ++t) {
    const bool trained = b.mask.empty() || b.mask[t] != 0;
    if (!trained || std::isnan(out.log_prob[t]) || out.mismatch_weight[t] != 0.0f) continue;
    const int kind = static_cast<int>(Fault::not_a_number);
    ++out.faults.count[kind];
    out.faults.first_row[kind] = std::min(out.faults.first_row[kind], static_cast<uint32_t>(t));
  }
  Matrix d(b.logits.dtype, b.logits.tokens, b.logits.vocab, b.d_stride, b.d_start);
  LogProbBackwardArgs backward{};
  static_cast<LogProbRows&>(backward) = rows_of(b);
  backward.whole_vocab = b.logits.vocab;
  backward.stats = stats.data();
  backward.d_log_prob = loss.d_log_prob;
  backward.d_entropy = loss.d_entropy;
  backward.entropy = forward.entropy;
  backward.d_logits = b.in_place ? b.logits.at(0, 0) : d.at(0, 0);
  backward.d_row_stride = b.in_place ? b.logits.stride : b.d_stride;
  backward.faults = &out.faults;
  must(log_prob_backward(context, backward));
  out.logits = b.logits.bytes;
  out.d_logits = d.bytes;
  return out;
}

Outputs together(Context& context, Batch b) {
  Outputs out;
  TokenLossArgs a{};
  a.logits = rows_of(b);
  a.loss = b.loss();
  out.wire(a.loss, b);
  std::vector<uint8_t> inner = workspace_of(a.loss);
  std::vector<uint8_t> workspace = memory(token_loss_workspace(a.loss.tokens, a.loss.rows) + 16);
  Matrix d(b.logits.dtype, b.logits.tokens, b.logits.vocab, b.d_stride, b.d_start);
  a.loss.workspace = inner.data();
  a.workspace = workspace.data();
  a.log_prob = out.log_prob.data();
  a.entropy = out.entropy.data();
  a.d_logits = b.in_place ? b.logits.at(0, 0) : d.at(0, 0);
  a.d_row_stride = b.in_place ? b.logits.stride : b.d_stride;
  a.faults = &out.faults;
  must(token_loss(context, a));
  for (size_t i = workspace.size() - 16; i < workspace.size(); ++i) REQUIRE(workspace[i] == 0xa5);
  out.logits = b.logits.bytes;
  out.d_logits = d.bytes;
  return out;
}

void same(const Outputs& a, const Outputs& b) {
  CHECK(same_bits(a.log_prob, b.log_prob));
  CHECK(same_bits(a.entropy, b.entropy));
  CHECK(same_bits(a.d_log_prob, b.d_log_prob));
  CHECK(same_bits(a.d_entropy, b.d_entropy));
  CHECK(same_bits(a.mismatch_weight, b.mismatch_weight));
  CHECK(same_bits(a.loss, b.loss));
  CHECK(same_bits(a.metrics, b.metrics));
  CHECK(a.logits == b.logits);
  CHECK(a.d_logits == b.d_logits);
  CHECK(std::memcmp(&a.faults, &b.faults, sizeof(FaultWord)) == 0);
}

void check(Context& context, const Batch& b) {
  CAPTURE(b.logits.vocab);
  CAPTURE(b.logits.stride);
  CAPTURE(static_cast<int>(b.logits.dtype));
  same(together(context, b), apart(context, b));
}

Context card(int max_cluster, int sm_count = 132, int64_t max_shared = int64_t{227} << 10) {
  Context context;
  context.max_cluster = max_cluster;
  context.sm_count = sm_count;
  context.shared_bytes = static_cast<size_t>(max_shared);
  return context;
}

const DType kTypes[] = {DType::f32, DType::bf16, DType::f16};

TEST_CASE("the bits of the three calls, wherever rows start") {
  Context context = card(8);
  for (const DType dtype : kTypes) {
    // 384 and 768: one segment of f32 and of 16 bits.
    for (const int64_t vocab :
         {int64_t{1}, int64_t{9}, int64_t{384}, int64_t{768}, int64_t{4099}}) {
      for (const int64_t stride : {vocab, vocab + 5, (vocab + 15) / 8 * 8}) {
        Batch b = batch_of(dtype, vocab, stride);
        check(context, b);
        b.in_place = false;
        b.d_stride = vocab + 3;  // of another phase
        check(context, b);
        b.d_stride = stride;
        b.entropy = false;
        check(context, b);
      }
    }
  }
}

TEST_CASE("every start of a row at every multiple of the element's size") {
  Context context = card(8);
  for (const DType dtype : kTypes) {
    for (int64_t start = 0; start < 16 / size_of(dtype); ++start) {
      CAPTURE(start);
      Batch b = batch_of(dtype, 3100, 3100, start);
      check(context, b);
      b.in_place = false;
      b.d_stride = 3101;
      b.d_start = 1;
      check(context, b);
    }
  }
}

TEST_CASE("long rows: the same bits with any number of blocks, and however much is kept") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Batch b = batch_of(dtype, dtype == DType::f32 ? 20001 : 40001, 40004);
    Context widest = card(8);
    const Outputs want = apart(widest, b);
    same(together(widest, b), want);
    // sm_count 1: as if rows were many; 16 KiB: a few segments are kept and the others read again.
    for (const int max_cluster : {1, 2, 4, 8}) {
      for (const int sm_count : {1, 132}) {
        for (const int64_t shared : {int64_t{16}, int64_t{99}, int64_t{227}}) {
          Context context = card(max_cluster, sm_count, shared << 10);
          CAPTURE(max_cluster);
          CAPTURE(sm_count);
          CAPTURE(shared);
          same(together(context, b), want);
        }
      }
      Context context = card(max_cluster, 1);
      same(apart(context, b), want);
    }
  }
}

TEST_CASE("faulty and masked tokens, and logits that are read twice") {
  for (const int max_cluster : {8, 1}) {
    Context context = card(max_cluster);
    for (const int64_t vocab : {int64_t{77}, int64_t{20001}}) {
      Batch b = batch_of(DType::f32, vocab, vocab);
      for (int64_t v = 0; v < vocab; ++v) {
        b.logits.set(2, v, kNaN);                         // masked
        b.logits.set(3, v, v % 2 == 0 ? 3e38f : -3e38f);  // the rounding of its base is large
        b.logits.set(5, v, v == 3 ? kInfinity : 1.0f);
      }
      b.targets[2] = -9;
      b.targets[0] = static_cast<int32_t>(vocab);
      b.old_log_prob[4] = kNaN;  // left out by the loss
      const Outputs got = together(context, b);
      same(got, apart(context, b));
      CHECK(got.faults.count[static_cast<int>(Fault::id_out_of_range)] == 1);
      CHECK(got.faults.count[static_cast<int>(Fault::not_a_number)] == 2);
      CHECK(got.faults.first_row[static_cast<int>(Fault::not_a_number)] == 4);
      b.temperatures[1] = -1.0f;
      b.mask = {};
      check(context, b);
      b.mask = {0, 0, 0, 0, 0, 0};
      check(context, b);
    }
  }
}

TEST_CASE("every order of threads gives the same") {
  const Batch b = batch_of(DType::bf16, 13001, 13001);
  Context first = card(8);
  const Outputs want = together(first, b);
  in_every_order([&](Context& context) {
    context.max_cluster = 8;
    context.shared_bytes = size_t{227} << 10;
    same(together(context, b), want);
  });
}

TEST_CASE("no tokens are no work; what is not local to a token is refused") {
  Context context = card(8);
  TokenLossArgs a{};
  const int32_t offsets[] = {0};
  double loss = 1.0, metrics[kMetricCount];
  Faults faults;
  a.loss = surrogate_defaults();
  a.loss.row_offsets = offsets;
  a.loss.old_log_prob = a.loss.advantage = reinterpret_cast<const float*>(offsets);
  a.loss.loss = &loss;
  a.loss.metrics = metrics;
  std::vector<uint8_t> inner = workspace_of(a.loss), own = memory(token_loss_workspace(0, 0));
  a.loss.workspace = inner.data();
  a.workspace = own.data();
  a.faults = &faults;
  a.logits.vocab = a.logits.row_stride = a.d_row_stride = 10;
  a.logits.temperature = 1.0f;
  must(token_loss(context, a));
  CHECK(loss == 0.0);
  a.logits.dtype = DType::f64;
  CHECK(token_loss(context, a).code == Code::dtype);
  a.logits.dtype = DType::f32;
  a.loss.terms.level = RatioLevel::sequence;
  CHECK(token_loss(context, a).code == Code::option);
}

}  // namespace
}  // namespace firesteel

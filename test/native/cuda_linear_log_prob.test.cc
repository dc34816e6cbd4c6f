// linear_log_prob on the emulated card: the bits of one large tile are those of every smaller one,
// at every alignment, in every order of threads, within the workspace.
#include "kernels/linear_log_prob/linear_log_prob.h"

#include "cuda_arrays.h"
#include "runtime/scalar.h"

namespace firesteel {
namespace {

struct Result {
  Array log_prob, entropy, vocab_mean, stats, d_hidden, d_weight;
  Faults faults;

  bool operator==(const Result& other) const {
    return same_bits(log_prob, other.log_prob) && same_bits(entropy, other.entropy) &&
           same_bits(vocab_mean, other.vocab_mean) && same_bits(stats, other.stats) &&
           same_bits(d_hidden, other.d_hidden) && same_bits(d_weight, other.d_weight);
  }
};

// A workspace of exactly `bytes` with marks around it.
class Workspace {
 public:
  explicit Workspace(int64_t bytes)
      : room_(static_cast<size_t>(bytes) + 2 * kMargin, kMark), bytes_(static_cast<size_t>(bytes)) {
    // 256-byte aligned, as the engine's memory is.
    start_ = kMargin - reinterpret_cast<uintptr_t>(room_.data()) % 256;
  }
  void* data() { return room_.data() + start_; }
  bool intact() const {
    for (size_t i = 0; i < room_.size(); ++i) {
      const bool inside = i >= start_ && i < start_ + bytes_;
      if (!inside && room_[i] != kMark) return false;
    }
    return true;
  }

 private:
  static constexpr size_t kMargin = 512;
  static constexpr char kMark = 0x5a;
  std::vector<char> room_;
  size_t bytes_, start_;
};

// Values in memory of a type, `shift` elements behind an aligned address.
class Operand {
 public:
  Operand(const Array& values, DType dtype, int shift) : dtype_(dtype), shift_(shift) {
    memory_.resize(values.size() * 4 + 64);
    for (size_t i = 0; i < values.size(); ++i) {
      char* to = memory_.data() + (i + size_t(shift)) * size_t(size_of(dtype));
      const uint16_t half =
          dtype == DType::bf16 ? from_float<bf16>(values[i]).bits : from_float<f16>(values[i]).bits;
      if (dtype == DType::f32) memcpy(to, &values[i], 4);
      if (dtype != DType::f32) memcpy(to, &half, 2);
    }
  }
  const void* data() const { return memory_.data() + shift_ * size_of(dtype_); }

 private:
  DType dtype_;
  int shift_;
  std::vector<char> memory_;
};

struct Batch {
  int64_t tokens, vocab, width;
  DType dtype;
  int shift = 0;

  Result run(Context& context, int64_t chunk_bytes) const {
    Array values = random_array(tokens * width, 1);
    for (int64_t i = 0; i < tokens * width; ++i) {
      if (i / width == 1 || i / width == 4) values[size_t(i)] = kNaN;
    }
    const Operand hidden(values, dtype, shift);
    const Operand weight(random_array(vocab * width, 2), dtype, shift);
    std::vector<int32_t> targets;
    std::vector<uint8_t> mask;
    for (int64_t t = 0; t < tokens; ++t) {
      targets.push_back(static_cast<int32_t>(t == 3 ? -1 : t * 7 % vocab));
      mask.push_back(t % 5 != 1);
    }
    const size_t n = static_cast<size_t>(tokens);
    const Array row(n, -7.0f);
    Result out{row, row, row, Array(2 * n, -7.0f), Array(n * size_t(width), -7.0f), {}, {}};
    out.d_weight.assign(size_t(vocab * width), -7.0f);
    Array temperatures = random_array(tokens, 6, 0.5f, 2.0f);
    if (tokens > 5) temperatures[5] = kNaN;
    const LinearShape shape{tokens, vocab, width, dtype, chunk_bytes};
    Workspace forward(linear_log_prob_workspace(LinearPass::forward, shape));
    LinearLogProbArgs a{};
    a.shape = shape;
    a.hidden = hidden.data();
    a.weight = weight.data();
    a.targets = targets.data();
    a.mask = mask.data();
    a.temperatures = temperatures.data();
    a.log_prob = out.log_prob.data();
    a.entropy = out.entropy.data();
    a.vocab_mean = out.vocab_mean.data();
    a.stats = out.stats.data();
    a.faults = &out.faults;
    a.workspace = forward.data();
    must(linear_log_prob(context, a));
    CHECK(forward.intact());

    Workspace backward(linear_log_prob_workspace(LinearPass::backward, shape));
    const Array d_log_prob = random_array(tokens, 3), d_entropy = random_array(tokens, 4);
    const Array d_vocab_mean = random_array(tokens, 5);
    LinearLogProbBackwardArgs b{};
    b.shape = shape;
    b.hidden = hidden.data();
    b.weight = weight.data();
    b.targets = targets.data();
    b.mask = mask.data();
    b.temperatures = temperatures.data();
    b.stats = out.stats.data();
    b.d_log_prob = d_log_prob.data();
    b.d_entropy = d_entropy.data();
    b.entropy = out.entropy.data();
    b.d_vocab_mean = d_vocab_mean.data();
    b.vocab_mean = out.vocab_mean.data();
    b.faults = &out.faults;
    b.d_hidden = out.d_hidden.data();
    b.d_weight = out.d_weight.data();
    b.workspace = backward.data();
    must(linear_log_prob_backward(context, b));
    CHECK(backward.intact());
    return out;
  }

  int64_t least() const { return linear_log_prob_least({tokens, vocab, width, dtype, 0}); }
};

TEST_CASE("every chunk and alignment has the same bits and stays within its workspace") {
  Context context;
  context.sm_count = 4;
  for (int max_cluster : {1, 8}) {
    context.max_cluster = max_cluster;
    for (DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      const Batch batch{7, 300, 20, dtype};
      const Result whole = batch.run(context, 0);
      CHECK(whole == batch.run(context, batch.least()));
      CHECK(whole == batch.run(context, 3 * batch.least() + 4));
      const Batch shifted{7, 300, 20, dtype, 1};
      CHECK(whole == shifted.run(context, 0));
    }
  }
  // Both gradients go on from one tile to the next.
  for (DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    const Batch batch{150, 140, 9, dtype};
    CHECK(batch.run(context, 0) == batch.run(context, batch.least()));
  }
}

TEST_CASE("nothing depends on the order of threads; faults have the batch's numbers") {
  const Batch batch{7, 140, 9, DType::f32};
  Context context;
  const Result want = batch.run(context, 0);
  in_every_order([&](Context& card) {
    const Result got = batch.run(card, batch.least());
    CHECK(got == want);
    CHECK(got.faults.count[int(Fault::id_out_of_range)] == 1);
    CHECK(got.faults.first_row[int(Fault::id_out_of_range)] == 3);
    CHECK(got.faults.count[int(Fault::not_a_number)] == 1);
    CHECK(got.faults.first_row[int(Fault::not_a_number)] == 4);
    CHECK(got.faults.count[int(Fault::parameter_out_of_range)] == 1);
    CHECK(got.faults.first_row[int(Fault::parameter_out_of_range)] == 5);
  });
  for (float x : want.d_weight) CHECK(std::isfinite(x));
  for (int64_t t : {1, 3, 4, 5}) {
    for (int64_t p = 0; p < 9; ++p) CHECK(want.d_hidden[size_t(t * 9 + p)] == 0.0f);
  }
}

TEST_CASE("no rows: the weight's gradient is written") {
  Context context;
  const Batch batch{0, 5, 3, DType::bf16};
  CHECK(batch.run(context, 0).d_weight == Array(15, 0.0f));
}

}  // namespace
}  // namespace firesteel

// linear_log_prob on the CPU: what only shows natively. Memory ends where arrays and workspace do,
// and the bits of one large tile are those of every smaller one. Values are checked by `verify`.
#include "kernels/linear_log_prob/linear_log_prob.h"

#include "arrays.h"
#include "every_isa.h"
#include "kernels/linear_log_prob/tiles.h"

namespace firesteel {
namespace {

struct Result {
  Array log_prob, entropy, vocab_mean, stats, d_hidden, d_weight;
  FaultWord faults{};

  bool operator==(const Result& other) const {
    return same_bits(log_prob, other.log_prob) && same_bits(entropy, other.entropy) &&
           same_bits(vocab_mean, other.vocab_mean) && same_bits(stats, other.stats) &&
           same_bits(d_hidden, other.d_hidden) && same_bits(d_weight, other.d_weight);
  }
};

// Rows 1, masked; 3, whose target is no id; 4, of NaN; 5, with a temperature that is none; 7, with
// nothing from above; others are in order.
struct Batch {
  int64_t tokens, vocab, width;
  DType dtype;
  Array hidden, weight, temperatures, d_log_prob, d_entropy, d_vocab_mean;
  std::vector<int32_t> targets;
  std::vector<uint8_t> mask;

  Batch(int64_t t, int64_t v, int64_t h, DType type)
      : tokens(t), vocab(v), width(h), dtype(type), hidden(random_array(t * h, 1)) {
    weight = random_array(v * h, 2);
    d_log_prob = random_array(t, 3);
    d_entropy = random_array(t, 4);
    d_vocab_mean = random_array(t, 5);
    temperatures = random_array(t, 6, 0.5f, 2.0f);
    for (int64_t i = 0; i < t; ++i) {
      targets.push_back(static_cast<int32_t>(i == 3 ? v : i * 7 % v));
      mask.push_back(i != 1);
      if (i == 1 || i == 4) std::fill_n(hidden.begin() + i * h, h, kNaN);
      if (i == 5) temperatures[5] = -1.0f;
      if (i == 7) d_log_prob[7] = d_entropy[7] = d_vocab_mean[7] = 0.0f;
    }
  }

  Result run(Context& context, int64_t chunk_bytes) {
    Padded hidden_room(tokens, width, width, hidden), weight_room(vocab, width, width, weight);
    Typed typed_hidden(hidden_room, dtype), typed_weight(weight_room, dtype);
    Padded log_prob(tokens, 1, 1), entropy(tokens, 1, 1), vocab_mean(tokens, 1, 1);
    Padded stats(tokens, 2, 2);
    Padded d_hidden(tokens, width, width), d_weight(vocab, width, width);
    const LinearShape shape{tokens, vocab, width, dtype, chunk_bytes};
    Result out;
    {
      Padded workspace(1, linear_log_prob_workspace(LinearPass::forward, shape) / 4, 1);
      LinearLogProbArgs a{};
      a.shape = shape;
      a.hidden = typed_hidden.data();
      a.weight = typed_weight.data();
      a.targets = targets.data();
      a.mask = mask.data();
      a.temperatures = temperatures.data();
      a.log_prob = log_prob.data();
      a.entropy = entropy.data();
      a.vocab_mean = vocab_mean.data();
      a.stats = stats.data();
      a.faults = &out.faults;
      a.workspace = workspace.data();
      REQUIRE(linear_log_prob(context, a).ok());
    }
    Padded workspace(1, linear_log_prob_workspace(LinearPass::backward, shape) / 4, 1);
    LinearLogProbBackwardArgs b{};
    b.shape = shape;
    b.hidden = typed_hidden.data();
    b.weight = typed_weight.data();
    b.targets = targets.data();
    b.mask = mask.data();
    b.temperatures = temperatures.data();
    b.stats = stats.data();
    b.d_log_prob = d_log_prob.data();
    b.d_entropy = d_entropy.data();
    b.entropy = entropy.data();
    b.d_vocab_mean = d_vocab_mean.data();
    b.vocab_mean = vocab_mean.data();
    b.faults = &out.faults;
    b.d_hidden = d_hidden.data();
    b.d_weight = d_weight.data();
    b.workspace = workspace.data();
    REQUIRE(linear_log_prob_backward(context, b).ok());
    CHECK(log_prob.intact());
    CHECK(entropy.intact());
    CHECK(vocab_mean.intact());
    CHECK(stats.intact());
    CHECK(d_hidden.intact());
    CHECK(d_weight.intact());
    out.log_prob = log_prob.values();
    out.entropy = entropy.values();
    out.vocab_mean = vocab_mean.values();
    out.stats = stats.values();
    out.d_hidden = d_hidden.values();
    out.d_weight = d_weight.values();
    return out;
  }
};

TEST_CASE("every chunk has the same bits and stays within its workspace") {
  Threads threads(2);
  // Nothing; one; more than one tile of columns, of rows, of both, each with a rest.
  const int64_t shapes[][3] = {{0, 5, 3}, {1, 1, 1}, {9, 9001, 5}, {530, 33, 7}, {400, 4500, 9}};
  for (const auto& [tokens, vocab, width] : shapes) {
    for (DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      CAPTURE(tokens);
      CAPTURE(static_cast<int>(dtype));
      Batch batch(tokens, vocab, width, dtype);
      const int64_t least = linear_log_prob_least({tokens, vocab, width, dtype, 0});
      const Result whole = batch.run(threads, 0);
      for (int64_t chunk : {least, 3 * least + 4, 8 * least}) {
        const Result result = batch.run(threads, chunk);
        CHECK(result == whole);
        CHECK(std::memcmp(&result.faults, &whole.faults, sizeof whole.faults) == 0);
      }
      for (int64_t t = 0; t < tokens; ++t) {
        CHECK(std::isnan(whole.log_prob[size_t(t)]) == (t >= 3 && t <= 5));
      }
      for (float x : whole.d_weight) CHECK(std::isfinite(x));
    }
  }
}

TEST_CASE("tiles have whole blocks, and keep within the chunk where it is large enough") {
  const TileRule rule{256, 256, 2048, 32 << 20};
  for (int64_t tokens : {1, 255, 256, 257, 700, 5000}) {
    for (int64_t vocab : {1, 255, 256, 300, 4100, 151936}) {
      LinearShape shape{tokens, vocab, 8, DType::f32, 0};
      for (int64_t chunk : {1, 1 << 18, 1 << 20, 5 << 20, 1 << 30}) {
        CAPTURE(tokens);
        CAPTURE(vocab);
        CAPTURE(chunk);
        shape.chunk_bytes = std::max(chunk, least_bytes(rule, shape));
        const TileSize tile = tile_size(rule, shape);
        CHECK(tile.rows >= 1);
        CHECK(tile.columns >= 1);
        CHECK((tile.rows == tokens || tile.rows % 256 == 0));
        CHECK((tile.columns == vocab || tile.columns % 256 == 0));
        CHECK(tile.rows <= std::min<int64_t>(tokens, 2048));
        CHECK(tile.columns <= vocab);
        CHECK(tile.stride >= tile.columns);
        CHECK(tile.rows * tile.columns * 4 <= shape.chunk_bytes);
      }
    }
  }
}

TEST_CASE("the largest shapes have a workspace that is a number") {
  const int64_t most = int64_t{1} << 20;
  for (LinearPass pass : {LinearPass::forward, LinearPass::backward}) {
    for (int64_t chunk : {int64_t{0}, (int64_t{1} << 53) - 1}) {
      const LinearShape shape{(int64_t{1} << 31) - 1, most, most, DType::f32, chunk};
      const int64_t bytes = linear_log_prob_workspace(pass, shape);
      CHECK(bytes > 0);
      CHECK(bytes < int64_t{1} << 54);
    }
  }
}

TEST_CASE("a dtype that holds no hidden states is an error") {
  Threads threads(1);
  std::vector<char> workspace(1 << 20);
  Array two(2), one(1);
  FaultWord faults{};
  const std::vector<int32_t> targets{0};
  LinearLogProbArgs a{};
  a.shape = {1, 1, 1, DType::i32, 0};
  a.hidden = a.weight = one.data();
  a.targets = targets.data();
  a.temperature = 1.0f;
  a.log_prob = one.data();
  a.stats = two.data();
  a.faults = &faults;
  a.workspace = workspace.data();
  CHECK(linear_log_prob(threads, a).code == Code::dtype);
}

}  // namespace
}  // namespace firesteel

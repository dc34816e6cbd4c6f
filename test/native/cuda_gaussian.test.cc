// gaussian on the emulated card: sizes around a pack, a warp, a block and a tile, arrays at any
// address, workspaces of exactly the size asked for.
#include "cuda_arrays.h"
#include "kernels/gaussian/gaussian.h"

namespace firesteel {
namespace {

constexpr double kHalfLogTwoPi = 0.91893853320467274178;

// A tile is 512 elements of a warp up to 4,096 of the largest block.
constexpr int64_t kWidths[] = {0, 1, 3, 4, 31, 128, 511, 512, 513, 4096, 4097, 9001};
constexpr int64_t kSamples = 3;

struct Batch {
  int64_t width;
  Array value, mean, std, d_out, d_mean, gain;
  std::vector<uint8_t> mask;

  explicit Batch(int64_t width) : width(width) {
    const int64_t elements = kSamples * width;
    value = random_array(elements, 1, -2.0f, 2.0f);
    mean = random_array(elements, 2, -2.0f, 2.0f);
    d_mean = random_array(elements, 3);
    std = {0.5f, 1.0f, 2.0f};
    d_out = {1.0f, -2.0f, 0.5f};
    gain = {-0.25f, 1.0f, 3.0f};
    for (int64_t i = 0; i < elements; ++i) mask.push_back(i % 3 == 1 ? 0 : i % 3 == 2 ? 1 : 255);
  }
};

struct Result {
  Array out, mean, next, d_input;
  Doubles slope;
  Faults faults;
};

// The same values some elements further on in memory: at 1 no access may be wide.
template <class T>
struct Shifted {
  std::vector<T> memory;
  size_t shift;
  Shifted(const std::vector<T>& values, size_t by) : memory(by), shift(by) {
    memory.insert(memory.end(), values.begin(), values.end());
  }
  T* data() { return memory.data() + shift; }
  std::vector<T> values() const {
    return std::vector<T>(memory.begin() + static_cast<long>(shift), memory.end());
  }
};

// Scratch that ends where it should: what is written beyond is seen.
struct Workspace {
  std::vector<unsigned char> memory;
  size_t bytes;
  explicit Workspace(int64_t size) : memory(size_t(size) + 64, 0xa5), bytes(size_t(size)) {}
  bool intact() const {
    return std::all_of(memory.begin() + static_cast<long>(bytes), memory.end(),
                       [](unsigned char c) { return c == 0xa5; });
  }
};

template <class Call>
void score(Result* out, const Batch& b, GaussianTerm term, Call call) {
  out->out.assign(kSamples, kNaN);
  out->slope.assign(kSamples, std::nan(""));
  Workspace workspace(gaussian_workspace(kSamples, b.width));
  must(call(GaussianScore{b.std.data(), term, GaussianReduction::mean, out->out.data(),
                          out->slope.data(), workspace.memory.data(), &out->faults}));
  CHECK(workspace.intact());
}

Result run(Context& context, const Batch& b, size_t shift, bool masked) {
  Result out;
  Shifted<float> value(b.value, shift), mean(b.mean, shift), d_mean(b.d_mean, shift);
  Shifted<uint8_t> mask(b.mask, shift);
  const uint8_t* bytes = masked ? mask.data() : nullptr;
  score(&out, b, GaussianTerm::log_prob, [&](GaussianScore s) {
    return gaussian_forward(context, {kSamples, b.width, value.data(), mean.data(), bytes, s});
  });
  Shifted<float> d_input(Array(b.value.size(), kNaN), shift);
  must(gaussian_backward(context,
                         {kSamples, b.width, value.data(), mean.data(), bytes, out.slope.data(),
                          b.d_out.data(), d_mean.data(), b.gain.data(), d_input.data()}));
  out.d_input = d_input.values();
  return out;
}

void check(const Batch& b, const Result& got, bool masked) {
  int wrong = 0;
  for (int64_t s = 0; s < kSamples; ++s) {
    const size_t row = static_cast<size_t>(s);
    const double std = double{b.std[row]};
    double squares = 0.0, count = 0.0;
    const auto live = [&](int64_t i) { return !masked || b.mask[static_cast<size_t>(i)] != 0; };
    const auto away = [&](int64_t i) {
      return double{b.value[static_cast<size_t>(i)]} - double{b.mean[static_cast<size_t>(i)]};
    };
    for (int64_t i = s * b.width; i < (s + 1) * b.width; ++i) {
      if (!live(i)) continue;
      squares += away(i) * away(i);
      count += 1.0;
    }
    const double want =
        count == 0.0 ? 0.0 : -squares / (2 * std * std * count) - std::log(std) - kHalfLogTwoPi;
    const double size = count == 0.0 ? 0.0 : squares / (std * std * count) + 2.0;
    CHECK(std::fabs(double{got.out[row]} - want) <= 2e-7 * size);
    for (int64_t i = s * b.width; i < (s + 1) * b.width; ++i) {
      const size_t at = static_cast<size_t>(i);
      const double through =
          double{b.gain[row]} * double{b.d_out[row]} * away(i) / (std * std * count);
      const double other = double{b.gain[row]} * double{b.d_mean[at]};
      const double exact = live(i) ? through + other : 0.0;
      const double bound = live(i) ? 3e-7 * (std::fabs(through) + std::fabs(other)) : 0.0;
      wrong += !(std::fabs(double{got.d_input[at]} - exact) <= bound);
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("log-probs and gradients at every width, address and order") {
  in_every_order([](Context& context) {
    for (const int64_t width : kWidths) {
      for (const bool masked : {false, true}) {
        CAPTURE(width);
        CAPTURE(masked);
        const Batch b(width);
        const Result wide = run(context, b, 0, masked), narrow = run(context, b, 1, masked);
        check(b, wide, masked);
        CHECK(same_bits(wide.out, narrow.out));
        CHECK(same_bits(wide.slope, narrow.slope));
        CHECK(same_bits(wide.d_input, narrow.d_input));
        CHECK(wide.faults.none());
      }
    }
  });
}

TEST_CASE("flow steps at every width and address: drawn, given, deterministic") {
  in_every_order([](Context& context) {
    for (const int64_t width : kWidths) {
      CAPTURE(width);
      Batch b(width);
      b.std[1] = 0.0f;
      const Array x_scale{0.9f, 1.0f, 1.1f};
      Result first;
      for (const size_t shift : {size_t{0}, size_t{1}}) {
        Shifted<float> x(b.value, shift), v(b.mean, shift), noise(b.d_mean, shift);
        Shifted<float> mean(Array(b.value.size(), kNaN), shift);
        Shifted<float> next(Array(b.value.size(), kNaN), shift);
        FlowStepArgs a{};
        a.samples = kSamples;
        a.width = width;
        a.x = x.data();
        a.v = v.data();
        a.x_scale = x_scale.data();
        a.v_scale = b.gain.data();
        a.noise = noise.data();
        a.mean = mean.data();
        a.next = next.data();
        Result drawn, given;
        score(&drawn, b, GaussianTerm::log_prob, [&](GaussianScore s) {
          a.score = s;
          return flow_step(context, a);
        });
        drawn.mean = mean.values();
        drawn.next = next.values();
        if (shift == 0) first = drawn;
        CHECK(same_bits(drawn.next, first.next));
        CHECK(same_bits(drawn.out, first.out));
        int wrong = 0;
        for (size_t i = 0; i < b.value.size(); ++i) {
          const size_t s = i / static_cast<size_t>(width);
          const float m = std::fma(b.gain[s], b.mean[i], x_scale[s] * b.value[i]);
          wrong += drawn.mean[i] != m;
          wrong += drawn.next[i] != std::fma(b.std[s], b.d_mean[i], m);
        }
        CHECK(wrong == 0);
        CHECK(drawn.out[1] == 0.0f);
        CHECK(drawn.slope[1] == 0.0);
        a.given = next.data();
        a.noise = nullptr;
        a.next = nullptr;
        score(&given, b, GaussianTerm::log_prob, [&](GaussianScore s) {
          a.score = s;
          return flow_step(context, a);
        });
        CHECK(same_bits(given.out, drawn.out));
        CHECK(same_bits(given.slope, drawn.slope));
        CHECK(same_bits(mean.values(), drawn.mean));
        CHECK(given.faults.none());
      }
    }
  });
}

TEST_CASE("a faulty sample of several tiles is one fault, its gradient 0") {
  in_every_order([](Context& context) {
    Batch b(5000);
    b.value[5000 + 4500] = kNaN;  // in the second tile of sample 1
    const Result got = run(context, b, 0, false);
    CHECK(std::isnan(got.out[1]));
    CHECK(std::isfinite(got.out[0]));
    CHECK(std::isfinite(got.out[2]));
    const auto zero = [](float x) { return x == 0.0f; };
    CHECK(std::all_of(got.d_input.begin() + 5000, got.d_input.begin() + 10000, zero));
    constexpr int kKind = static_cast<int>(Fault::not_a_number);
    CHECK(got.faults.count[kKind] == 1);
    CHECK(got.faults.first_row[kKind] == 1);
  });
}

TEST_CASE("more samples than a grid holds are refused") {
  Context context;
  GaussianArgs a{};
  a.samples = int64_t{1} << 31;
  a.width = 1;
  CHECK(gaussian_forward(context, a).code == Code::range);
  FlowStepArgs step{};
  step.samples = int64_t{1} << 30;
  step.width = 10000;  // three tiles
  CHECK(flow_step(context, step).code == Code::range);
  GaussianBackwardArgs backward{};
  backward.samples = int64_t{1} << 40;
  backward.width = 1;
  CHECK(gaussian_backward(context, backward).code == Code::range);
}

}  // namespace
}  // namespace firesteel

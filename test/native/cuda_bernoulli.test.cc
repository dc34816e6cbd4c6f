// bernoulli on the emulated card: the same float64 maths as on the CPU, at every address and size.
#include "cuda_arrays.h"
#include "kernels/bernoulli/bernoulli.h"
#include "kernels/bernoulli/math.h"

namespace firesteel {
namespace {

TEST_CASE("edges, rows and gradients at every size and address") {
  in_every_order([](Context& context) {
    for (const int edges : {0, 1, 3, 4, 5, 130, 700}) {
      for (const size_t shift : {size_t{0}, size_t{1}, size_t{2}}) {
        CAPTURE(edges);
        CAPTURE(shift);
        const size_t count = static_cast<size_t>(edges);
        Array logits = random_array(edges + 2, 1, -9.0f, 9.0f);
        const Array ref = random_array(edges + 2, 2, -9.0f, 9.0f);
        const Array upstream = random_array(3 * (edges + 2), 3);
        std::vector<uint8_t> actions(count + 2), mask(count + 2);
        for (size_t e = 0; e < actions.size(); ++e) {
          actions[e] = e % 3 == 0;
          mask[e] = e % 4 != 1;
        }
        const std::vector<int32_t> offsets{0, edges / 3, edges / 3, edges};
        Array log_prob(count + 2, kNaN), entropy(count + 2, kNaN), kl(count + 2, kNaN);
        Array d_logits(count + 2, kNaN);
        Doubles sums(9, std::nan(""));
        Faults faults;
        BernoulliArgs a{};
        a.edges = edges;
        a.rows = 3;
        a.row_offsets = offsets.data();
        a.logits = logits.data() + shift;
        a.ref_logits = ref.data() + shift;
        a.actions = actions.data() + shift;
        a.mask = mask.data() + shift;
        a.temperature = 0.7;
        a.log_prob = log_prob.data() + shift;
        a.entropy = entropy.data() + shift;
        a.kl = kl.data() + shift;
        a.row_log_prob = sums.data();
        a.row_entropy = sums.data() + 3;
        a.row_kl = sums.data() + 6;
        a.faults = &faults;
        must(bernoulli_forward(context, a));
        must(bernoulli_backward(context,
                                {edges, a.logits, a.ref_logits, a.actions, a.mask, a.temperature,
                                 upstream.data() + shift, upstream.data() + shift + count,
                                 upstream.data() + shift + 2 * count, d_logits.data() + shift}));
        int wrong = 0;
        Doubles want(9, 0.0);
        for (size_t e = 0; e < count; ++e) {
          bernoulli::EdgeValues v{0.0f, 0.0f, 0.0f};
          float gradient = 0.0f;
          if (a.mask[e] != 0) {
            const bernoulli::Edge edge{a.logits[e], a.ref_logits[e], a.actions[e]};
            v = bernoulli::edge_values(edge, a.temperature, true, true);
            gradient = bernoulli::edge_gradient(edge, a.temperature,
                                                {upstream[shift + e], upstream[shift + count + e],
                                                 upstream[shift + 2 * count + e]});
          }
          wrong += a.log_prob[e] != v.log_prob || a.entropy[e] != v.entropy || a.kl[e] != v.kl;
          wrong += d_logits[shift + e] != gradient;
          const size_t row = static_cast<int>(e) < offsets[1] ? 0 : 2;
          want[row] += double{v.log_prob};
          want[row + 3] += double{v.entropy};
          want[row + 6] += double{v.kl};
        }
        CHECK(wrong == 0);
        CHECK(distance(sums, want, 1e-13, 1e-13) <= 1.0);
        CHECK(faults.none());
        for (const Array* x : {&log_prob, &entropy, &kl, &d_logits}) {
          for (size_t e = 0; e < x->size(); ++e) {
            if (e < shift || e >= shift + count) CHECK(std::isnan((*x)[e]));
          }
        }
      }
    }
  });
}

TEST_CASE("more rows than a grid holds are refused") {
  Context context;
  BernoulliArgs a{};
  a.rows = int64_t{1} << 31;
  CHECK(bernoulli_forward(context, a).code == Code::range);
}

}  // namespace
}  // namespace firesteel

// kl on the emulated card: values, sums of rows of any length, masks and faults.
#include "cuda_arrays.h"
#include "kernels/kl/kl.h"

namespace firesteel {
namespace {

struct Batch {
  std::vector<int32_t> offsets;
  Array log_prob, ref_log_prob;
  std::vector<uint8_t> mask;

  explicit Batch(const std::vector<int>& lengths) : offsets(offsets_of(lengths)) {
    log_prob = random_array(offsets.back(), 1, -4.0f, -0.1f);
    ref_log_prob = random_array(offsets.back(), 2, -4.0f, -0.1f);
    for (size_t t = 0; t < log_prob.size(); ++t) mask.push_back(t % 3 != 1);
  }
};

struct Result {
  Array kl;
  Doubles row_kl;
  Faults faults;
};

Result run(Context& context, const Batch& b) {
  Result out;
  out.kl.assign(b.log_prob.size(), 7.0f);
  out.row_kl.assign(b.offsets.size() - 1, 7.0);
  KlArgs a{};
  a.tokens = b.offsets.back();
  a.rows = static_cast<int64_t>(out.row_kl.size());
  a.estimator = KlEstimator::k3;
  a.difference_limit = 2.5f;
  a.value_limit = 4.0f;
  a.row_offsets = b.offsets.data();
  a.log_prob = b.log_prob.data();
  a.ref_log_prob = b.ref_log_prob.data();
  a.mask = b.mask.data();
  a.kl = out.kl.data();
  a.row_kl = out.row_kl.data();
  a.faults = &out.faults;
  must(kl(context, a));
  return out;
}

TEST_CASE("bounded estimates and their sums over rows") {
  in_every_order([](Context& context) {
    const Batch b({5, 0, 128, 129, 1, 700});
    const Result got = run(context, b);
    CHECK(got.faults.none());
    for (size_t r = 0; r + 1 < b.offsets.size(); ++r) {
      double sum = 0.0;
      for (size_t t = size_t(b.offsets[r]); t < size_t(b.offsets[r + 1]); ++t) {
        const double d = double(b.ref_log_prob[t]) - double(b.log_prob[t]);
        const double bounded = std::max(-2.5, std::min(d, 2.5));
        const double kl = std::min(std::expm1(bounded) - bounded, 4.0);
        const double want = b.mask[t] != 0 ? kl : 0.0;
        CHECK(std::fabs(double(got.kl[t]) - want) <= 4e-7 * want + 1e-12);
        sum += want;
      }
      CHECK(std::fabs(got.row_kl[r] - sum) <= 4e-7 * sum);
    }
  });
}

TEST_CASE("NaN is a fault of its row, under the mask it is nothing") {
  Context context;
  Batch b({20, 40, 5});
  const Result clean = run(context, b);
  b.log_prob[22] = kNaN;
  CHECK(run(context, b).faults.none());
  CHECK(same_bits(run(context, b).row_kl, clean.row_kl));
  b.ref_log_prob[23] = kNaN;
  const Result got = run(context, b);
  CHECK(got.faults.count[static_cast<int>(Fault::not_a_number)] == 1);
  CHECK(got.faults.first_row[static_cast<int>(Fault::not_a_number)] == 1);
  CHECK(std::isnan(got.kl[23]));
  CHECK(std::isnan(got.row_kl[1]));
  CHECK(got.row_kl[0] == clean.row_kl[0]);
}

TEST_CASE("nothing gives nothing") {
  Context context;
  CHECK(run(context, Batch({})).kl.empty());
  CHECK(same_bits(run(context, Batch({0, 0})).row_kl, Doubles{0.0, 0.0}));
}

}  // namespace
}  // namespace firesteel

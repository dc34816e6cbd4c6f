// kl on the CPU against the estimators in float64: values, row sums, masks, faults.
#include "kernels/kl/kl.h"

#include "arrays.h"
#include "every_isa.h"

namespace firesteel {
namespace {

struct Batch {
  std::vector<int32_t> offsets{0};
  Array log_prob, ref_log_prob;
  std::vector<uint8_t> mask;
  KlEstimator estimator = KlEstimator::k3;
  float difference_limit = kInfinity, value_limit = kInfinity;

  explicit Batch(const std::vector<int>& lengths, float width = 3.0f) {
    for (const int length : lengths) offsets.push_back(offsets.back() + length);
    log_prob = random_array(offsets.back(), 1, -4.0f, -0.1f);
    ref_log_prob = random_array(offsets.back(), 2, -width, width);
    for (size_t t = 0; t < log_prob.size(); ++t) {
      ref_log_prob[t] += log_prob[t];
      mask.push_back(t % 3 != 1);
    }
  }
  size_t rows() const { return offsets.size() - 1; }
};

struct Result {
  Array kl;
  std::vector<double> row_kl;
  FaultWord faults{{0, 0, 0}, {~0u, ~0u, ~0u}};
  int fault_count() const { return int(faults.count[int(Fault::not_a_number)]); }
};

Result run(const Batch& b, int threads = 2) {
  Result out;
  out.kl.assign(b.log_prob.size(), 7.0f);
  out.row_kl.assign(b.rows(), 7.0);
  KlArgs a{};
  a.tokens = b.offsets.back();
  a.rows = int64_t(b.rows());
  a.estimator = b.estimator;
  a.difference_limit = b.difference_limit;
  a.value_limit = b.value_limit;
  a.row_offsets = b.offsets.data();
  a.log_prob = b.log_prob.data();
  a.ref_log_prob = b.ref_log_prob.data();
  a.mask = b.mask.empty() ? nullptr : b.mask.data();
  a.kl = out.kl.data();
  a.row_kl = out.row_kl.data();
  a.faults = &out.faults;
  Threads cpu(threads);
  REQUIRE(kl(cpu, a).ok());
  return out;
}

double exact(const Batch& b, size_t t) {
  const double far = double(b.difference_limit), most = double(b.value_limit);
  const double free = double(b.ref_log_prob[t]) - double(b.log_prob[t]);
  const double d = std::max(-far, std::min(free, far));
  double kl = std::fabs(d) < 1e-3 ? d * d * (0.5 + d / 6 + d * d / 24) : std::expm1(d) - d;
  if (b.estimator == KlEstimator::k1) kl = -d;
  if (b.estimator == KlEstimator::k2) kl = 0.5 * d * d;
  if (b.estimator == KlEstimator::abs) kl = std::fabs(d);
  return std::max(-most, std::min(kl, most));
}

TEST_CASE("estimates and their sums over rows of every length") {
  for (int estimator = 0; estimator <= 4; ++estimator) {
    for (const float width : {1e-3f, 3.0f, 30.0f}) {
      for (const bool limited : {false, true}) {
        for (const bool masked : {true, false}) {
          INFO("estimator ", estimator, ", width ", width, ", limited ", limited);
          Batch b({5, 0, 17, 1, 64, 3, 33}, width);
          b.estimator = KlEstimator(estimator);
          if (limited) b.difference_limit = 0.8f * width;
          if (limited) b.value_limit = 0.5f * width;
          if (!masked) b.mask.clear();
          const Result got = run(b);
          CHECK(got.fault_count() == 0);
          for (size_t r = 0; r < b.rows(); ++r) {
            double sum = 0.0, magnitude = 0.0;
            for (size_t t = size_t(b.offsets[r]); t < size_t(b.offsets[r + 1]); ++t) {
              const double want = masked && b.mask[t] == 0 ? 0.0 : exact(b, t);
              CHECK(std::fabs(double(got.kl[t]) - want) <= 4e-7 * std::fabs(want));
              sum += want;
              magnitude += std::fabs(want);
            }
            CHECK(std::fabs(got.row_kl[r] - sum) <= 4e-7 * magnitude);
          }
        }
      }
    }
  }
}

TEST_CASE("NaN is a fault of its row, under the mask it is nothing") {
  Batch b({20, 40, 5});
  const Result clean = run(b);
  b.log_prob[22] = b.ref_log_prob[25] = kNaN;  // masked
  const Result masked = run(b);
  CHECK(masked.fault_count() == 0);
  CHECK(masked.kl == clean.kl);
  CHECK(masked.row_kl == clean.row_kl);
  b.log_prob[23] = kNaN;
  b.log_prob[24] = b.ref_log_prob[24] = -kInfinity;
  const Result got = run(b);
  CHECK(got.fault_count() == 2);
  CHECK(got.faults.first_row[int(Fault::not_a_number)] == 1);
  CHECK(std::isnan(got.kl[23]));
  CHECK(std::isnan(got.kl[24]));
  CHECK(std::isnan(got.row_kl[1]));
  CHECK(got.row_kl[0] == clean.row_kl[0]);
  CHECK(got.row_kl[2] == clean.row_kl[2]);
}

TEST_CASE("an infinite estimate is a value; two that cancel are a fault of the row") {
  Batch b({6, 6});
  b.mask.clear();
  b.estimator = KlEstimator::k1;
  b.ref_log_prob[7] = -kInfinity;
  const Result one = run(b);
  CHECK(one.fault_count() == 0);
  CHECK(one.kl[7] == kInfinity);
  CHECK(one.row_kl[1] == double(kInfinity));
  b.log_prob[9] = -kInfinity;
  const Result two = run(b);
  CHECK(two.fault_count() == 1);
  CHECK(two.faults.first_row[int(Fault::not_a_number)] == 1);
  CHECK(std::isnan(two.row_kl[1]));
  CHECK(two.kl[9] == -kInfinity);
  b.difference_limit = 20.0f;
  CHECK(run(b).row_kl[1] == run(b).row_kl[1]);
}

TEST_CASE("the thread count changes no bit, and a row's sum not with its neighbours") {
  std::vector<int> lengths;
  for (int r = 0; r < 2000; ++r) lengths.push_back(r % 53);
  const Batch b(lengths);
  const Result one = run(b, 1), three = run(b, 3);
  CHECK(one.kl == three.kl);
  CHECK(one.row_kl == three.row_kl);
  Batch alone({52});
  for (auto array : {&Batch::log_prob, &Batch::ref_log_prob}) {
    (alone.*array) = Array((b.*array).begin() + b.offsets[52], (b.*array).begin() + b.offsets[53]);
  }
  alone.mask.assign(b.mask.begin() + b.offsets[52], b.mask.begin() + b.offsets[53]);
  CHECK(run(alone).row_kl[0] == one.row_kl[52]);
}

TEST_CASE("nothing gives nothing; an unknown estimator is refused") {
  CHECK(run(Batch({})).kl.empty());
  const Result empty = run(Batch({0, 0}));
  CHECK(empty.row_kl == std::vector<double>{0.0, 0.0});
  KlArgs a{};
  a.estimator = KlEstimator(5);
  Threads cpu(1);
  CHECK(!kl(cpu, a).ok());
}

}  // namespace
}  // namespace firesteel

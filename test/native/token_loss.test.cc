// token_loss on the CPU against log_prob, surrogate and log_prob_backward one after the other: the
// same bits, on both sides of the width from which it is one pass.
#include "kernels/token_loss/token_loss.h"

#include <string.h>

#include "arrays.h"
#include "every_isa.h"
#include "surrogate_batch.h"

namespace firesteel {
namespace {

FaultWord no_faults() {
  FaultWord word;
  memset(word.count, 0, sizeof word.count);
  memset(word.first_row, 0xff, sizeof word.first_row);
  return word;
}

struct Outputs {
  Array log_prob, entropy, d_log_prob, d_entropy, mismatch_weight, d_logits;
  double loss = 0.0;
  std::vector<double> metrics;
  FaultWord faults = no_faults();
  std::string refusal;
  bool intact = true;
};

// Logits that end where memory does, in rows apart from each other.
struct Job {
  SurrogateBatch batch;
  int64_t vocab, padding;
  bool in_place;
  std::vector<int32_t> targets;
  Array logits;

  Job(const BatchShape& shape, int64_t vocab, int64_t padding, bool in_place)
      : batch(surrogate_batch(shape)), vocab(vocab), padding(padding), in_place(in_place) {
    const int64_t tokens = int64_t(batch.tokens());
    logits = random_array(tokens * vocab, 5, -4.0f, 4.0f);
    for (int64_t t = 0; t < tokens; ++t) targets.push_back(int32_t((t * 7919) % vocab));
    batch.options.entropy_coefficient = 0.1f;
  }

  Outputs run(Context& context, bool fused) const {
    const int64_t tokens = int64_t(batch.tokens()), stride = vocab + padding;
    const size_t n = size_t(tokens);
    Padded z(tokens, vocab, stride, logits), d(tokens, vocab, stride);
    Padded& target = in_place ? z : d;
    Outputs out;
    for (Array* array :
         {&out.log_prob, &out.entropy, &out.d_log_prob, &out.d_entropy, &out.mismatch_weight}) {
      array->assign(n, 77.0f);
    }
    out.metrics.assign(kMetricCount, 0.0);
    const auto pointer = [](const auto& array) { return array.empty() ? nullptr : array.data(); };

    TokenLossArgs a{};
    a.logits = {z.data(),       DType::f32,          tokens, vocab,  stride,
                targets.data(), pointer(batch.mask), 0.8f,   nullptr};
    SurrogateArgs& loss = a.loss = batch.options;
    loss.tokens = tokens;
    loss.rows = int64_t(batch.row_count());
    loss.row_offsets = batch.rows.data();
    loss.log_prob = out.log_prob.data();
    loss.old_log_prob = pointer(batch.old_log_prob);
    loss.ref_log_prob = pointer(batch.ref_log_prob);
    loss.sampler_log_prob = pointer(batch.sampler_log_prob);
    loss.advantage = batch.advantage.data();
    loss.weight = pointer(batch.weight);
    loss.entropy = out.entropy.data();
    loss.shaped = pointer(batch.shaped);
    loss.mask = pointer(batch.mask);
    loss.loss = &out.loss;
    loss.d_log_prob = out.d_log_prob.data();
    loss.d_entropy = out.d_entropy.data();
    if (!batch.sampler_log_prob.empty()) loss.mismatch_weight = out.mismatch_weight.data();
    loss.metrics = out.metrics.data();
    loss.faults = &out.faults;
    std::vector<double> of_loss(size_t(surrogate_workspace(tokens, loss.rows, 0, 0)) / 8 + 1);
    loss.workspace = of_loss.data();
    a.log_prob = out.log_prob.data();
    a.entropy = out.entropy.data();
    a.d_logits = target.data();
    a.d_row_stride = stride;
    a.faults = &out.faults;

    constexpr size_t kGuard = 8;
    const size_t bytes = size_t(token_loss_workspace(tokens, loss.rows));
    std::vector<double> workspace(bytes / 8 + 1 + kGuard, -7.0);
    a.workspace = workspace.data();
    if (fused) {
      out.refusal = token_loss(context, a).message;
      for (size_t i = bytes / 8 + 1; i < workspace.size(); ++i) out.intact &= workspace[i] == -7.0;
    } else {
      Array stats(2 * n);
      LogProbArgs forward{};
      static_cast<LogProbRows&>(forward) = a.logits;
      forward.log_prob = a.log_prob;
      forward.entropy = a.entropy;
      forward.stats = stats.data();
      forward.faults = &out.faults;
      REQUIRE(log_prob_forward(context, forward).ok());
      REQUIRE(surrogate(context, loss).ok());
      LogProbBackwardArgs backward{};
      static_cast<LogProbRows&>(backward) = a.logits;
      backward.whole_vocab = vocab;
      backward.stats = stats.data();
      backward.d_log_prob = loss.d_log_prob;
      backward.d_entropy = loss.d_entropy;
      backward.entropy = a.entropy;
      backward.d_logits = a.d_logits;
      backward.d_row_stride = stride;
      backward.faults = &out.faults;
      REQUIRE(log_prob_backward(context, backward).ok());
    }
    out.d_logits = target.values();
    out.intact &= z.intact() && d.intact();
    return out;
  }
};

void check_same(const Outputs& got, const Outputs& want) {
  CHECK(got.refusal == "");
  CHECK(got.intact);
  CHECK(memcmp(&got.loss, &want.loss, sizeof got.loss) == 0);
  CHECK(same_bits(got.log_prob, want.log_prob));
  CHECK(same_bits(got.entropy, want.entropy));
  CHECK(same_bits(got.d_log_prob, want.d_log_prob));
  CHECK(same_bits(got.d_entropy, want.d_entropy));
  CHECK(same_bits(got.mismatch_weight, want.mismatch_weight));
  CHECK(same_bits(got.d_logits, want.d_logits));
  CHECK(memcmp(got.metrics.data(), want.metrics.data(), kMetricCount * sizeof(double)) == 0);
}

BatchShape rows_of(std::vector<int> lengths) {
  BatchShape shape{std::move(lengths)};
  shape.weighted = shape.reference = shape.sampler = shape.shaped = true;
  return shape;
}

TEST_CASE("any width, padding and place: the bits of the three calls") {
  for (const int64_t vocab : {1, 31, 255, 256, 257, 1000, 5003}) {
    for (const bool in_place : {false, true}) {
      INFO("V = ", vocab, ", in place ", in_place);
      Job job(rows_of({5, 0, 17, 1, 40, 0, 3}), vocab, vocab % 3, in_place);
      job.batch.terms().mismatch = Mismatch::sequence_truncate;
      job.batch.terms().beta = 0.2f;
      for (const int threads : {1, 2}) {
        Threads cpu(threads);
        check_same(job.run(cpu, true), job.run(cpu, false));
      }
    }
  }
}

TEST_CASE("every legal form and level that is local; the others are refused") {
  for_legal([](SurrogateForm form, RatioLevel level, AdvantageUnit unit) {
    Job job(rows_of({5, 0, 17, 1}), 300, 0, false);
    const Array old = job.batch.old_log_prob;
    set_form(job.batch, form, level, unit);
    job.batch.old_log_prob = old;
    Threads cpu(2);
    if (level == RatioLevel::token || level == RatioLevel::none) {
      check_same(job.run(cpu, true), job.run(cpu, false));
    } else {
      job.batch.options.segment_offsets = job.batch.segments.data();
      job.batch.options.segments = int64_t(job.batch.segments.size()) - 1;
      CHECK(job.run(cpu, true).refusal.find("level token or none") != std::string::npos);
    }
  });
}

TEST_CASE("an off-policy test is refused") {
  Job job(rows_of({5}), 300, 0, false);
  job.batch.terms().off_policy_threshold = 0.1f;
  Threads cpu(1);
  CHECK(job.run(cpu, true).refusal.find("off-policy") != std::string::npos);
}

TEST_CASE("a fault is recorded once, under its token, on both sides of the width") {
  for (const int64_t vocab : {31, 300}) {
    INFO("V = ", vocab);
    Job job(rows_of({4, 0, 5}), vocab, 0, false);
    job.batch.mask.clear();
    job.batch.shaped.clear();
    job.logits[size_t(2 * vocab + 3)] = kNaN;  // token 2
    job.targets[3] = int32_t(vocab);
    job.batch.old_log_prob[6] = kNaN;
    Threads cpu(2);
    const Outputs out = job.run(cpu, true);
    const int nan = int(Fault::not_a_number), id = int(Fault::id_out_of_range);
    CHECK(out.faults.count[nan] == 2);
    CHECK(out.faults.first_row[nan] == 2);
    CHECK(out.faults.count[id] == 1);
    CHECK(out.faults.first_row[id] == 3);
    for (const int64_t t : {2, 3, 6}) {
      for (int64_t v = 0; v < vocab; ++v) CHECK(out.d_logits[size_t(t * vocab + v)] == 0.0f);
    }
  }
}

TEST_CASE("no tokens, no rows") {
  Job job(BatchShape{{0, 0}}, 300, 0, false);
  job.batch.terms().form = SurrogateForm::reinforce;  // with an empty array there is no old policy
  job.batch.terms().level = RatioLevel::none;
  Threads cpu(2);
  check_same(job.run(cpu, true), job.run(cpu, false));
}

}  // namespace
}  // namespace firesteel

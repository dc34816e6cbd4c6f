// divergence's CUDA kernels on the emulated card, in every order of threads, against the
// definitions in double.
#include "kernels/divergence/divergence.h"

#include "cuda_arrays.h"
#include "divergence_plain.h"
#include "runtime/scalar.h"

namespace firesteel {
namespace {

struct Batch {
  DivergenceRule rule{DivergenceKind::mixed, DivergenceSupport::full, 0.3, -20.0, false};
  int64_t tokens, vocab, top_k = 0;
  Array student, teacher;
  std::vector<int32_t> ids;
  Array above;

  Batch(const DivergenceChoice& choice, int64_t tokens, int64_t vocab, int64_t top_k)
      : tokens(tokens),
        vocab(vocab),
        student(random_array(tokens * vocab, 1, -4.0f, 4.0f)),
        above(random_array(tokens, 2)) {
    rule.kind = choice.kind;
    rule.support = choice.support;
    if (choice.support == DivergenceSupport::full) {
      teacher = random_array(tokens * vocab, 3, -4.0f, 4.0f);
      return;
    }
    this->top_k = top_k;
    const float middle = -std::log(2.0f * static_cast<float>(top_k));
    teacher = random_array(tokens * top_k, 3, middle - 0.2f, middle + 0.2f);
    // 7 and the vocabulary have no common divisor in these tests.
    for (int64_t i = 0; i < tokens * top_k; ++i) ids.push_back(static_cast<int32_t>(i * 7 % vocab));
  }
};

struct Result {
  Array divergence, stats, gradient;
  Faults faults;
};

// `offset`: where in a 16-byte piece of memory the student's first row begins.
Result run(Context& context, const Batch& b, bool in_place = false, size_t offset = 0) {
  const size_t rows = static_cast<size_t>(b.tokens);
  Array student(offset, kNaN), out(offset + b.student.size(), kNaN);
  student.insert(student.end(), b.student.begin(), b.student.end());
  if (in_place) out = student;
  float* logits = (in_place ? out : student).data() + offset;
  const size_t width = static_cast<size_t>(kDivergenceStats + b.top_k);
  Result result{Array(rows, kNaN), Array(rows * width, kNaN), {}, Faults()};
  DivergenceArgs a{};
  a.rule = b.rule;
  a.student = logits;
  a.teacher = b.teacher.data();
  a.tokens = b.tokens;
  a.vocab = b.vocab;
  a.top_k = b.top_k;
  a.top_ids = b.ids.empty() ? nullptr : b.ids.data();
  a.inverse_temperature = 1.25;
  a.inverse_teacher_temperature = 1.0;
  a.divergence = result.divergence.data();
  a.stats = result.stats.data();
  a.faults = &result.faults;
  must(divergence_forward(context, a));
  DivergenceBackwardArgs d{};
  d.rule = b.rule;
  d.student = logits;
  d.teacher = b.ids.empty() ? a.teacher : nullptr;
  d.tokens = b.tokens;
  d.vocab = b.vocab;
  d.top_k = b.top_k;
  d.top_ids = a.top_ids;
  d.inverse_temperature = a.inverse_temperature;
  d.inverse_teacher_temperature = 1.0;
  d.stats = a.stats;
  d.d_divergence = b.above.data();
  d.d_student = out.data() + offset;
  must(divergence_backward(context, d));
  result.gradient.assign(out.begin() + static_cast<int64_t>(offset), out.end());
  return result;
}

template <class T>
std::vector<T> row_of(const std::vector<T>& values, int64_t t, int64_t width) {
  return {values.begin() + t * width, values.begin() + (t + 1) * width};
}

// As for the CPU: 2^-21 (1 + z) with z below 20 of terms that sum to less than 100.
void check(Context& context, const Batch& b) {
  const Result got = run(context, b);
  CHECK(got.faults.none());
  for (int64_t t = 0; t < b.tokens; ++t) {
    const int64_t width = b.ids.empty() ? b.vocab : b.top_k;
    const PlainDivergence want =
        plain_divergence(b.rule, row_of(b.student, t, b.vocab), row_of(b.teacher, t, width),
                         b.ids.empty() ? b.ids : row_of(b.ids, t, b.top_k), 1.25, 1.0);
    const size_t row = static_cast<size_t>(t);
    CHECK(distance(Array{got.divergence[row]}, Doubles{want.value}, 2e-6, 1e-5) <= 1.0);
    Doubles gradient = want.gradient;
    for (double& g : gradient) g *= static_cast<double>(b.above[row]);
    CHECK(distance(row_of(got.gradient, t, b.vocab), gradient, 2e-6, 1e-5) <= 1.0);
  }
}

TEST_CASE("every kind over every support, in every order of threads, at every alignment") {
  in_every_order([](Context& context) {
    for (const DivergenceChoice& choice : divergence_choices()) {
      CAPTURE(static_cast<int>(choice.kind));
      CAPTURE(static_cast<int>(choice.support));
      const Batch b(choice, 2, 267, 5);
      check(context, b);
      const Result got = run(context, b);
      CHECK(same_bits(run(context, b, true).gradient, got.gradient));
      const Result moved = run(context, b, false, 3);
      CHECK(same_bits(moved.divergence, got.divergence));
      CHECK(same_bits(moved.gradient, got.gradient));
    }
  });
}

TEST_CASE("sizes at which the number of threads changes") {
  Context context;
  for (const int64_t vocab : {1, 8, 255, 257, 2049, 8193}) {
    CAPTURE(vocab);
    check(context, {{DivergenceKind::jsd, DivergenceSupport::full}, 1, vocab, 0});
    if (vocab < 9) continue;
    check(context, {{DivergenceKind::mixed, DivergenceSupport::tail}, 1, vocab, 3});
  }
  check(context, {{DivergenceKind::reverse, DivergenceSupport::floor}, 1, 1003, 700});
}

TEST_CASE("ids beyond what shared memory holds at a time, twice in one row and not in the other") {
  Context context;
  constexpr int64_t kVocab = 400003;
  Batch b({DivergenceKind::reverse, DivergenceSupport::renormalized}, 2, kVocab, 4);
  b.ids = {400002, 0, 262144, 262143, /**/ 5, 400001, 6, 400001};
  const Result got = run(context, b);
  const int kind = static_cast<int>(Fault::id_out_of_range);
  CHECK(got.faults.count[kind] == 1);
  CHECK(got.faults.first_row[kind] == 1);
  CHECK(std::isnan(got.divergence[1]));
  const PlainDivergence want =
      plain_divergence(b.rule, row_of(b.student, 0, kVocab), row_of(b.teacher, 0, 4),
                       row_of(b.ids, 0, 4), 1.25, 1.0);
  CHECK(distance(Array{got.divergence[0]}, Doubles{want.value}, 1e-12, 2 * kEpsilon) <= 1.0);
  for (size_t v = 0; v < kVocab; ++v) {
    const double slope = want.gradient[v] * static_cast<double>(b.above[0]);
    if (!(std::fabs(static_cast<double>(got.gradient[v]) - slope) <= 1e-6)) FAIL(v);
    if (float_bits(got.gradient[kVocab + v]) != 0) FAIL(v);
  }
}

TEST_CASE("no rows are no work, too many are refused, and so are other dtypes") {
  Context context;
  for (const DivergenceSupport support : {DivergenceSupport::full, DivergenceSupport::tail}) {
    DivergenceArgs a{};
    a.rule.support = support;
    a.vocab = 100000;
    a.top_k = support == DivergenceSupport::full ? 0 : 2;
    CHECK(divergence_forward(context, a).ok());
    a.tokens = int64_t{1} << 31;
    CHECK(divergence_forward(context, a).code == Code::range);
    DivergenceBackwardArgs d{};
    d.rule.support = support;
    d.vocab = 100000;
    d.top_k = a.top_k;
    CHECK(divergence_backward(context, d).ok());
    d.tokens = int64_t{1} << 28;  // in pieces
    CHECK(divergence_backward(context, d).code == Code::range);
    a.tokens = 0;
    a.student_dtype = DType::i32;
    CHECK(divergence_forward(context, a).code == Code::dtype);
    d.tokens = 0;
    d.student_dtype = DType::f64;
    CHECK(divergence_backward(context, d).code == Code::dtype);
  }
}

}  // namespace
}  // namespace firesteel

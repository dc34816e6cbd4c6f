#include <algorithm>

#include "kernels/gaussian/gaussian.h"
#include "kernels/gaussian/score.h"
#include "kernels/gaussian/table.h"
#include "runtime/cpu/context.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {

FIRESTEEL_DISPATCH(GaussianTable, gaussian_table)

namespace {

constexpr int64_t kPart = 1 << 14;     // elements summed on their own: fixes the order of a sum
constexpr int64_t kGrain = 1 << 16;    // elements in a chunk of work: 10 to 30 us
constexpr int64_t kSamples = 1 << 10;  // results in a chunk of work

int64_t parts_of(int64_t width) {
  return std::max<int64_t>(1, (width + kPart - 1) / kPart);
}

// body(sample, first element, elements, number of the part among all) for every part of every
// sample.
template <class Body>
Status each_part(Context& context, int64_t samples, int64_t width, const Body& body) {
  const int64_t parts = parts_of(width);
  const int64_t grain = kGrain / (std::min(width, kPart) + 1) + 1;
  return context.parallel(samples * parts, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t sample = i / parts, first = i % parts * kPart;
      body(sample, sample * width + first, std::min(kPart, width - first), i);
    }
  });
}

Status score_samples(Context& context, const GaussianScore& s, int64_t samples, int64_t width,
                     bool steps) {
  const GaussianSum* sums = static_cast<const GaussianSum*>(s.workspace);
  const int64_t parts = parts_of(width);
  return context.parallel(samples, kSamples / parts + 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      GaussianSum total{0.0, 0};
      for (int64_t i = b * parts; i < (b + 1) * parts; ++i) {
        total.sum += sums[i].sum;
        total.count += sums[i].count;
      }
      const GaussianOutcome score =
          score_of(s.term, s.reduction, total, static_cast<double>(s.std[b]), steps);
      if (score.fault) record_fault(s.faults, Fault::not_a_number, b);
      s.out[b] = static_cast<float>(score.out);
      s.slope[b] = score.slope;
    }
  });
}

}  // namespace

int64_t gaussian_workspace(int64_t samples, int64_t width) {
  return samples * parts_of(width) * static_cast<int64_t>(sizeof(GaussianSum));
}

Status gaussian_forward(Context& context, const GaussianArgs& a) {
  GaussianSum* sums = static_cast<GaussianSum*>(a.score.workspace);
  const auto squares = gaussian_table().squares;
  const Status status =
      each_part(context, a.samples, a.width, [&](int64_t, int64_t at, int64_t count, int64_t i) {
        const uint8_t* mask = a.mask == nullptr ? nullptr : a.mask + at;
        sums[i].sum = squares({count, a.value + at, a.mean + at, mask}, &sums[i].count);
      });
  if (!status.ok()) return status;
  return score_samples(context, a.score, a.samples, a.width, false);
}

Status flow_step(Context& context, const FlowStepArgs& a) {
  GaussianSum* sums = static_cast<GaussianSum*>(a.score.workspace);
  const auto step = gaussian_table().flow_step;
  const Status status =
      each_part(context, a.samples, a.width, [&](int64_t b, int64_t at, int64_t count, int64_t i) {
        const float std = a.score.std[b];
        FlowPart part{};
        part.count = count;
        part.x = a.x + at;
        part.v = a.v + at;
        part.noise = a.noise == nullptr || std == 0.0f ? nullptr : a.noise + at;
        part.given = a.given == nullptr ? nullptr : a.given + at;
        part.mean = a.mean + at;
        part.next = a.next == nullptr ? nullptr : a.next + at;
        part.x_scale = a.x_scale[b];
        part.v_scale = a.v_scale[b];
        part.std = std;
        sums[i] = {step(part), count};
      });
  if (!status.ok()) return status;
  return score_samples(context, a.score, a.samples, a.width, true);
}

Status gaussian_backward(Context& context, const GaussianBackwardArgs& a) {
  const auto backward = gaussian_table().backward;
  return each_part(context, a.samples, a.width, [&](int64_t b, int64_t at, int64_t count, int64_t) {
    const double slope = a.slope[b];
    if (slope != slope) return static_cast<void>(std::fill_n(a.d_input + at, count, 0.0f));
    const float gain = a.gain == nullptr ? 1.0f : a.gain[b];
    const double factor = static_cast<double>(a.d_out[b]) * slope * static_cast<double>(gain);
    backward({count, a.value + at, a.mean + at, a.mask == nullptr ? nullptr : a.mask + at,
              a.d_mean == nullptr ? nullptr : a.d_mean + at, static_cast<float>(factor), gain,
              a.d_input + at});
  });
}

}  // namespace firesteel

// The least that a NAN addon can do for the same work: it reads typed arrays where our addon has
// tensors of an engine, and calls the kernel on the spot, without stream, faults or memory limit.
#include <nan.h>

#include <atomic>
#include <vector>

#include "kernels/group_norm/group_norm.h"
#include "runtime/cpu/context.h"

namespace {

using firesteel::Context;
using firesteel::FaultWord;
using firesteel::GroupNormArgs;

std::atomic<bool> cancelled{false};

Context& context() {
  static Context one(firesteel::ThreadPool::shared(1), 1, &cancelled);
  return one;
}

// nothing(handle): what a call costs that looks at one argument.
NAN_METHOD(nothing) {
  if (!info[0]->IsArrayBufferView()) return Nan::ThrowTypeError("expected a typed array");
}

template <class T>
T* data_of(v8::Local<v8::Value> value, int64_t count) {
  Nan::TypedArrayContents<T> contents(value);
  return static_cast<int64_t>(contents.length()) >= count ? *contents : nullptr;
}

// groupNorm(groups, rule, values, groupOffsets, advantage, center, scale), by the mean and the std
// of the group.
NAN_METHOD(group_norm) {
  GroupNormArgs a{};
  a.groups = Nan::To<int64_t>(info[0]).FromMaybe(0);
  const double* rule = data_of<double>(info[1], 2);
  const int32_t* offsets = data_of<int32_t>(info[3], a.groups + 1);
  if (rule == nullptr || offsets == nullptr) return Nan::ThrowTypeError("expected more elements");
  a.rule.ddof = static_cast<int32_t>(rule[0]);
  a.rule.eps = rule[1];
  a.rows = offsets[a.groups];
  a.columns = 1;
  a.group_offsets = offsets;
  a.values = data_of<float>(info[2], a.rows);
  a.advantage = data_of<float>(info[4], a.rows);
  a.center_out = data_of<float>(info[5], a.groups);
  a.scale_out = data_of<float>(info[6], a.groups);
  if (a.values == nullptr || a.advantage == nullptr || a.center_out == nullptr ||
      a.scale_out == nullptr) {
    return Nan::ThrowTypeError("expected more elements");
  }
  FaultWord faults{};
  a.faults = &faults;
  std::vector<char> workspace(static_cast<size_t>(firesteel::group_norm_workspace(a)));
  a.workspace = workspace.data();
  const firesteel::Status status = firesteel::group_norm(context(), a);
  if (!status.ok()) Nan::ThrowError(status.message.c_str());
}

NAN_MODULE_INIT(initialize) {
  Nan::SetMethod(target, "nothing", nothing);
  Nan::SetMethod(target, "groupNorm", group_norm);
}

}  // namespace

NODE_MODULE(nan_binding, initialize)

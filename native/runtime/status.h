// Errors are values in native code; the addon turns them into FiresteelError.
#pragma once
#include <string>
#include <utility>

namespace firesteel {

// One to one with the codes of src/engine/error.ts (addon/error.cc holds the names).
enum class Code : int {
  ok,
  shape,
  dtype,
  range,
  option,
  disposed,
  no_device,
  out_of_memory,
  device_lost,
  aborted,
};

struct [[nodiscard]] Status {
  Code code = Code::ok;
  std::string message;

  bool ok() const { return code == Code::ok; }
  static Status error(Code code, std::string message) { return {code, std::move(message)}; }
};

}  // namespace firesteel

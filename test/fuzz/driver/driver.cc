// libFuzzer for Jazzer.js, built against this machine's own: the functions of @jazzer.js/fuzzer's addon that
// its other packages call. Its prebuilt addon needs GLIBC_2.38, which long-lived distributions do not have.
//
// libFuzzer runs on a thread of its own and hands every input to the JavaScript thread, which answers when
// the target's promise settles. A refused promise, or none within -timeout, ends the process: the input lies
// under -artifact_prefix then, as libFuzzer itself leaves one.
#include <napi.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

extern "C" {
int LLVMFuzzerRunDriver(int* argc, char*** argv, int (*callback)(const uint8_t*, size_t));
void __sanitizer_cov_8bit_counters_init(uint8_t* begin, uint8_t* end);
void __sanitizer_cov_pcs_init(const uintptr_t* begin, const uintptr_t* end);
void __sanitizer_cov_trace_cmp8(uint64_t a, uint64_t b);
void __sanitizer_weak_hook_strcmp(void* pc, const char* a, const char* b, int result);
void __sanitizer_weak_hook_strstr(void* pc, const char* text, const char* part, char* result);
}

namespace {

/** libFuzzer counts an edge once it has a place in the program; an edge of JavaScript gets a made-up one. */
void register_counters(uint8_t* counters, size_t count) {
  static uintptr_t next = 1;
  auto* table = new std::vector<uintptr_t>;
  for (size_t i = 0; i < count; ++i) {
    table->push_back(next++);
    table->push_back(0);
  }
  __sanitizer_cov_8bit_counters_init(counters, counters + count);
  __sanitizer_cov_pcs_init(table->data(), table->data() + table->size());
}

uint8_t* coverage_map = nullptr;

void register_coverage_map(const Napi::CallbackInfo& info) {
  coverage_map = info[0].As<Napi::Uint8Array>().Data();
}

void register_new_counters(const Napi::CallbackInfo& info) {
  const size_t begin = info[0].ToNumber().Int64Value();
  const size_t end = info[1].ToNumber().Int64Value();
  register_counters(coverage_map + begin, end - begin);
}

void register_module_counters(const Napi::CallbackInfo& info) {
  auto counters = info[0].As<Napi::Uint8Array>();
  register_counters(counters.Data(), counters.ElementLength());
}

/** Where a comparison stands; only told apart from others. */
void* place(const Napi::CallbackInfo& info) {
  return reinterpret_cast<void*>(static_cast<uintptr_t>(info[0].ToNumber().Uint32Value()) + 1);
}

void trace_unequal_strings(const Napi::CallbackInfo& info) {
  const std::string a = info[1].ToString();
  const std::string b = info[2].ToString();
  __sanitizer_weak_hook_strcmp(place(info), a.c_str(), b.c_str(), 1);
}

void trace_string_containment(const Napi::CallbackInfo& info) {
  const std::string part = info[1].ToString();
  const std::string text = info[2].ToString();
  __sanitizer_weak_hook_strstr(place(info), text.c_str(), part.c_str(), nullptr);
}

void trace_integer_compare(const Napi::CallbackInfo& info) {
  __sanitizer_cov_trace_cmp8(info[1].ToNumber().Int64Value(), info[2].ToNumber().Int64Value());
}

void nothing(const Napi::CallbackInfo&) {}

struct Input {
  const uint8_t* bytes;
  size_t size;
  std::promise<bool> held;
};

Napi::ThreadSafeFunction target;
std::chrono::seconds patience{1200};
std::string artifact_prefix;

/** Exit code of libFuzzer for a finding. */
constexpr int finding = 77;

[[noreturn]] void end_with(const char* kind, const uint8_t* bytes, size_t size) {
  uint64_t hash = 14695981039346656037u;
  for (size_t i = 0; i < size; ++i) hash = (hash ^ bytes[i]) * 1099511628211u;
  char name[32];
  std::snprintf(name, sizeof name, "%s-%016llx", kind, static_cast<unsigned long long>(hash));
  if (FILE* file = std::fopen((artifact_prefix + name).c_str(), "wb")) {
    std::fwrite(bytes, 1, size, file);
    std::fclose(file);
  }
  std::_Exit(finding);
}

void run(Napi::Env env, Napi::Function fuzz, Input* input) {
  // The target may keep the bytes longer than libFuzzer does.
  const auto copy = Napi::Buffer<uint8_t>::Copy(env, input->bytes, input->size);
  const Napi::Value result = fuzz.Call({copy});
  if (env.IsExceptionPending()) {
    env.GetAndClearPendingException();
    input->held.set_value(false);
    return;
  }
  if (!result.IsPromise()) {
    input->held.set_value(true);
    return;
  }
  auto settle = [env, input](bool held) {
    return Napi::Function::New(
        env, [input, held](const Napi::CallbackInfo&) { input->held.set_value(held); });
  };
  const auto promise = result.As<Napi::Object>();
  promise.Get("then").As<Napi::Function>().Call(promise, {settle(true), settle(false)});
}

int one_input(const uint8_t* bytes, size_t size) {
  // Left behind where it is not answered in time: JavaScript may still come to it.
  auto* input = new Input{bytes, size, {}};
  auto held = input->held.get_future();
  if (target.BlockingCall(input, run) != napi_ok) return 0;
  if (held.wait_for(patience) != std::future_status::ready) {
    std::fprintf(stderr, "==timeout== after %lld s\n", static_cast<long long>(patience.count()));
    end_with("timeout", bytes, size);
  }
  if (!held.get()) end_with("crash", bytes, size);
  delete input;
  return 0;
}

Napi::Value start(const Napi::CallbackInfo& info) {
  auto arguments = std::make_shared<std::vector<std::string>>();
  const auto given = info[1].As<Napi::Array>();
  for (uint32_t i = 0; i < given.Length(); ++i) {
    const std::string argument = given.Get(i).ToString();
    constexpr const char* timeout = "-timeout=";
    constexpr const char* prefix = "-artifact_prefix=";
    // libFuzzer's own alarm goes to whichever thread the kernel picks, and is lost on all but one.
    if (argument.rfind(timeout, 0) == 0) {
      patience = std::chrono::seconds(std::atoi(argument.c_str() + std::strlen(timeout)));
    } else {
      if (argument.rfind(prefix, 0) == 0) artifact_prefix = argument.substr(std::strlen(prefix));
      arguments->push_back(argument);
    }
  }
  const auto deferred = Napi::Promise::Deferred::New(info.Env());
  target = Napi::ThreadSafeFunction::New(
      info.Env(), info[0].As<Napi::Function>(), "libFuzzer", 0, 1,
      [deferred](Napi::Env env) { deferred.Resolve(env.Undefined()); });
  std::thread([arguments] {
    std::vector<char*> pointers;
    for (auto& argument : *arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    int count = static_cast<int>(arguments->size());
    char** begin = pointers.data();
    LLVMFuzzerRunDriver(&count, &begin, one_input);
    target.Release();
  }).detach();
  return deferred.Promise();
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  auto add = [&](const char* name, auto function) {
    exports.Set(name, Napi::Function::New(env, function));
  };
  add("registerCoverageMap", register_coverage_map);
  add("registerNewCounters", register_new_counters);
  add("registerModuleCounters", register_module_counters);
  add("traceUnequalStrings", trace_unequal_strings);
  add("traceStringContainment", trace_string_containment);
  add("traceIntegerCompare", trace_integer_compare);
  add("tracePcIndir", nothing);
  add("printAndDumpCrashingInput", nothing);
  add("printReturnInfo", nothing);
  add("startFuzzingAsync", start);
  return exports;
}

}  // namespace

NODE_API_MODULE(fuzzer, initialize)

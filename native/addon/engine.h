#pragma once
#include "addon/completions.h"
#include "addon/environment.h"
#include "addon/handles.h"

namespace firesteel {

// open, close, memory, synchronize, refuseAllocation
void register_engine(napi_env env, napi_value exports);
// allocate, wrap, view, dispose, write, read, readSync
void register_tensor(napi_env env, napi_value exports);

// Submits a task whose outcome settles a promise. Where it throws, nothing is waited for.
void submit_expected(napi_env env, EngineState& state, Task task, bool small,
                     Completions::Settle settle);

// Adds one function to the addon's exports.
void export_function(napi_env env, napi_value exports, const char* name, napi_callback function);

}  // namespace firesteel

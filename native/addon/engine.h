#pragma once
#include "addon/environment.h"

namespace firesteel {

// open, close, memory, synchronize, wait
void register_engine(napi_env env, napi_value exports);
// allocate, view, dispose, write, read, readSync
void register_tensor(napi_env env, napi_value exports);

// Adds one function to the addon's exports.
void export_function(napi_env env, napi_value exports, const char* name, napi_callback function);

}  // namespace firesteel

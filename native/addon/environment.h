// The only header that includes Node-API, and what one Node environment (the main thread or a
// worker) holds of the addon.
#pragma once
#define NAPI_VERSION 8
#define NODE_ADDON_API_DISABLE_DEPRECATED
#include <napi.h>

#include "runtime/status.h"

namespace firesteel {

// Set as instance data; one per environment.
struct Environment {
  Napi::FunctionReference
      error_class;  // FiresteelError(code, message), handed over by initialize()
};

// Calls of Node-API fail where no JavaScript can run any more: the stack is exhausted, or the
// worker is being terminated. Nothing may be thrown through V8 then, so what follows is plain
// Node-API.

// Throws what is said where the host has no memory left: takes none itself.
napi_value throw_exhausted(napi_env env);
// A FiresteelError made of a status; null where it could not be made.
napi_value make_error(napi_env env, const Status& status);
// Throws it; returns null for `return throw_error(...)`.
napi_value throw_error(napi_env env, const Status& status);
// Settles a promise with it.
void reject(napi_env env, napi_deferred deferred, const Status& status);

}  // namespace firesteel

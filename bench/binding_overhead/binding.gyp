# One kernel through NAN, to measure what the Node-API layer costs. Development only: not in the
# package. Links the kernels that `npm run build` made.
{
  "targets": [
    {
      "target_name": "nan_binding",
      "sources": ["nan_binding.cc"],
      "include_dirs": ["<!(node -e \"require('nan')\")", "../../native"],
      "libraries": ["<(module_root_dir)/../../out/libfiresteel_core.a", "-lpthread"],
      "cflags!": ["-fno-omit-frame-pointer"],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti"],
      "cflags_cc": ["-std=c++17", "-O3", "-Wno-cast-function-type", "-Wno-unused-parameter"],
      "ldflags": ["-Wl,--exclude-libs,ALL", "-Wl,-z,now"],
      "xcode_settings": { "GCC_ENABLE_CPP_EXCEPTIONS": "YES", "CLANG_CXX_LANGUAGE_STANDARD": "c++17" }
    }
  ]
}

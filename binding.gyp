# The CPU addon through node-gyp, which prebuildify uses. CMakeLists.txt is the main build; the two
# take the same sources and flags (test/package/flags.test.ts). gyp has no flags per file: one library per instruction set.
{
  "variables": {
    "strict_flags": ["-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra", "-Wdouble-promotion"]
  },
  "target_defaults": {
    "include_dirs": ["native"],
    "defines": ["NDEBUG"],
    "cflags": ["<@(strict_flags)", "-fvisibility=hidden"],
    "cflags!": ["-fno-omit-frame-pointer", "-fno-strict-aliasing"],
    "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++20", "-fno-strict-aliasing"],
    "cflags_cc": ["-std=c++17", "-O3"],
    "xcode_settings": { "GCC_ENABLE_CPP_EXCEPTIONS": "YES", "CLANG_CXX_LANGUAGE_STANDARD": "c++17" }
  },
  "targets": [
    {
      "target_name": "firesteel",
      "sources": [
        "<!@(node -p \"require('./scripts/nativeSources.cjs')('addon')\")",
        "<!@(node -p \"require('./scripts/nativeSources.cjs')('cpu')\")"
      ],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["FIRESTEEL_BACKEND=\"cpu\""],
      "ldflags": ["-Wl,--exclude-libs,ALL", "-Wl,-z,now"],
      "conditions": [
        ["target_arch=='x64'", { "dependencies": ["firesteel_sse2", "firesteel_avx2", "firesteel_avx512"] }],
        ["target_arch=='arm64'", { "dependencies": ["firesteel_neon"] }]
      ]
    }
  ],
  "conditions": [
    ["target_arch=='x64'", {
      "targets": [
        {
          "target_name": "firesteel_sse2",
          "type": "static_library",
          "sources": ["<!@(node -p \"require('./scripts/nativeSources.cjs')('simd')\")"],
          "defines": ["FIRESTEEL_ISA=sse2"],
          "cflags": ["-msse2", "-fno-exceptions", "-fno-rtti"]
        },
        {
          "target_name": "firesteel_avx2",
          "type": "static_library",
          "sources": ["<!@(node -p \"require('./scripts/nativeSources.cjs')('simd')\")"],
          "defines": ["FIRESTEEL_ISA=avx2"],
          "cflags": ["-mavx2", "-mfma", "-mf16c", "-fno-exceptions", "-fno-rtti"]
        },
        {
          "target_name": "firesteel_avx512",
          "type": "static_library",
          "sources": ["<!@(node -p \"require('./scripts/nativeSources.cjs')('simd')\")"],
          "defines": ["FIRESTEEL_ISA=avx512"],
          "cflags": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mf16c", "-fno-exceptions", "-fno-rtti"]
        }
      ]
    }],
    ["target_arch=='arm64'", {
      "targets": [
        {
          "target_name": "firesteel_neon",
          "type": "static_library",
          "sources": ["<!@(node -p \"require('./scripts/nativeSources.cjs')('simd')\")"],
          "defines": ["FIRESTEEL_ISA=neon"],
          "cflags": ["-fno-exceptions", "-fno-rtti"]
        }
      ]
    }]
  ]
}

{
  # The engine is an executable. Variables (node-gyp rebuild -- -Dname=value):
  #   templatefs_tests=1   also the C++ unit tests and the fuzz drivers, plain and under the sanitizers
  #   templatefs_strict=1  warnings are errors (our own builds; never a user's install)
  "variables": {
    "templatefs_tests%": 0,
    "templatefs_strict%": 0,
    "engine_sources": [
      "<!@(find native -name '*.cc' ! -name '*_test.cc' ! -name 'main.cc' ! -path 'native/testing/*' | sort)"
    ],
    "test_sources": [
      "<!@(find native -name '*_test.cc' -o -path 'native/testing/*.cc' | sort)"
    ],
  },
  "target_defaults": {
    "include_dirs": ["native"],
    "cflags": ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-O2", "-g"],
    "cflags!": ["-O3"],
    "cflags_cc": ["-std=c++20", "-fno-rtti"],
    "cflags_cc!": ["-std=gnu++17", "-std=gnu++20", "-std=gnu++14"],
    "defines": ["_GNU_SOURCE", "_FILE_OFFSET_BITS=64"],
    "ldflags!": ["-rdynamic"],
    "conditions": [
      ["templatefs_strict==1", { "cflags": ["-Werror"] }],
    ],
  },
  "targets": [
    {
      "target_name": "templatefs-engine",
      "type": "executable",
      "sources": ["<@(engine_sources)", "native/main.cc"],
      # Static: no relocations and no shared libraries, so an idle engine has the smallest private memory.
      "ldflags": ["-static"],
      "cflags_cc": ["-fno-exceptions"],
    },
  ],
  "conditions": [
    ["templatefs_tests==1", {
      "targets": [
        {
          "target_name": "native-tests-asan",
          "type": "executable",
          "sources": ["<@(engine_sources)", "<@(test_sources)"],
          "cflags": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-O1"],
          "cflags!": ["-O2", "-fomit-frame-pointer"],
          "ldflags": ["-fsanitize=address,undefined"],
          "defines": ["TEMPLATEFS_TESTS"],
        },
        {
          "target_name": "templatefs-engine-asan",
          "type": "executable",
          "sources": ["<@(engine_sources)", "native/main.cc"],
          "cflags": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-O1"],
          "cflags!": ["-O2", "-fomit-frame-pointer"],
          "ldflags": ["-fsanitize=address,undefined"],
        },
        {
          "target_name": "native-tests-tsan",
          "type": "executable",
          "sources": ["<@(engine_sources)", "<@(test_sources)"],
          "cflags": ["-fsanitize=thread", "-O1"],
          "cflags!": ["-O2"],
          "ldflags": ["-fsanitize=thread"],
          "defines": ["TEMPLATEFS_TESTS"],
        },
      ],
    }],
  ],
}

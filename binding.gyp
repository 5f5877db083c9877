{
  # The engine is an executable. Variables, in two steps because `build` would hand them to make as flags
  # (node-gyp configure -- -Dname=value; node-gyp build):
  #   templatefs_tests=1   also the C++ unit tests, under ASan with UBSan and under TSan, and the engine under ASan
  #   templatefs_strict=1  warnings are errors (our own builds; never a user's install)
  "variables": {
    "templatefs_tests%": 0,
    "templatefs_strict%": 0,
    "engine_sources": [
      "<!@(find native -name '*.cc' ! -name '*_test.cc' ! -name 'main.cc' ! -path 'native/testing/*' ! -path 'native/fuzz/*' | sort)"
    ],
    "test_sources": [
      "<!@(find native -name '*_test.cc' -o -path 'native/testing/*.cc' -o -path 'native/fuzz/*.cc' ! -name 'libfuzzer_main.cc' | sort)"
    ],
  },
  "target_defaults": {
    "include_dirs": ["native"],
    "cflags": ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-O2", "-g"],
    "cflags!": ["-O3"],
    "cflags_cc": ["-std=c++20", "-fno-rtti"],
    "cflags_cc!": ["-std=gnu++17", "-std=gnu++20", "-std=gnu++14"],
    "defines": [
      "_GNU_SOURCE",
      "_FILE_OFFSET_BITS=64",
      "TEMPLATEFS_VERSION=\"<!(node -p \"require('./package.json').version\")\"",
    ],
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
      "variables": {
        # g++ knows that the sanitizers' code makes it see uninitialized variables where there are none.
        "sanitizer_cflags": ["-O1", "-fno-omit-frame-pointer", "-Wno-maybe-uninitialized"],
        "asan_flags": ["-fsanitize=address,undefined"],
        "tsan_flags": ["-fsanitize=thread"],
        # What native/testing/host_faults.cc can make fail.
        "host_faults": [
          "-Wl,--wrap=mkdirat", "-Wl,--wrap=mknodat", "-Wl,--wrap=symlinkat", "-Wl,--wrap=linkat",
          "-Wl,--wrap=renameat", "-Wl,--wrap=renameat2", "-Wl,--wrap=unlinkat", "-Wl,--wrap=fchmodat",
          "-Wl,--wrap=fchownat", "-Wl,--wrap=utimensat", "-Wl,--wrap=futimens", "-Wl,--wrap=statx",
          "-Wl,--wrap=readlinkat", "-Wl,--wrap=fsync", "-Wl,--wrap=fdatasync", "-Wl,--wrap=syncfs",
          "-Wl,--wrap=sync_file_range", "-Wl,--wrap=fsetxattr", "-Wl,--wrap=pread64", "-Wl,--wrap=pwrite64",
          "-Wl,--wrap=pwritev64", "-Wl,--wrap=ftruncate64", "-Wl,--wrap=fallocate64", "-Wl,--wrap=lseek64",
          "-Wl,--wrap=copy_file_range", "-Wl,--wrap=write", "-Wl,--wrap=openat64", "-Wl,--wrap=ioctl",
          "-Wl,--wrap=syscall",
        ],
      },
      "targets": [
        {
          # The engine without main, compiled once for the two executables below.
          "target_name": "engine-asan",
          "type": "static_library",
          "sources": ["<@(engine_sources)"],
          "cflags": ["<@(asan_flags)", "-fno-sanitize-recover=all", "<@(sanitizer_cflags)"],
          "cflags!": ["-O2"],
        },
        {
          "target_name": "templatefs-engine-asan",
          "type": "executable",
          "dependencies": ["engine-asan"],
          "sources": ["native/main.cc"],
          "cflags": ["<@(asan_flags)", "-fno-sanitize-recover=all", "<@(sanitizer_cflags)"],
          "cflags!": ["-O2"],
          "ldflags": ["<@(asan_flags)"],
        },
        {
          "target_name": "native-tests-asan",
          "type": "executable",
          "dependencies": ["engine-asan"],
          "sources": ["<@(test_sources)"],
          "cflags": ["<@(asan_flags)", "-fno-sanitize-recover=all", "<@(sanitizer_cflags)"],
          "cflags!": ["-O2"],
          # A failed REQUIRE of doctest is an exception.
          "cflags_cc": ["-fexceptions"],
          "cflags_cc!": ["-fno-exceptions"],
          "ldflags": ["<@(asan_flags)", "<@(host_faults)"],
          "defines": ["TEMPLATEFS_TESTS"],
        },
        {
          "target_name": "native-tests-tsan",
          "type": "executable",
          "sources": ["<@(engine_sources)", "<@(test_sources)"],
          "cflags": ["<@(tsan_flags)", "<@(sanitizer_cflags)"],
          "cflags!": ["-O2"],
          "cflags_cc": ["-fexceptions"],
          "cflags_cc!": ["-fno-exceptions"],
          "ldflags": ["<@(tsan_flags)", "<@(host_faults)"],
          "defines": ["TEMPLATEFS_TESTS"],
        },
      ],
    }],
  ],
}

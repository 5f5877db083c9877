// Gives one harness to libFuzzer: -DTEMPLATEFS_HARNESS=fuzz_requests, say.
#include "fuzz/harness.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    templatefs::fuzz::TEMPLATEFS_HARNESS(std::as_bytes(std::span(data, size)));
    return 0;
}

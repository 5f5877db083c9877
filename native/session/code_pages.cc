#include "session/code_pages.h"

#include <link.h>
#include <sys/mman.h>

#include <cstdint>

namespace templatefs {
namespace {

constexpr uintptr_t kPage = 4096;

// Code and constants are mapped from the file and never written to, so nothing is lost. (What is only made read-only after it was
// written belongs to a segment that is writable.)
int give_back_segments(dl_phdr_info* object, size_t /*size*/, void* /*unused*/) {
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const auto& segment = object->dlpi_phdr[i];
        if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
        const uintptr_t address = object->dlpi_addr + segment.p_vaddr;
        const uintptr_t start = address & ~(kPage - 1);
        ::madvise(reinterpret_cast<void*>(start), address + segment.p_memsz - start, MADV_DONTNEED);
    }
    return 0;
}

}  // namespace

void give_back_code_pages() {
    ::dl_iterate_phdr(give_back_segments, nullptr);
}

}  // namespace templatefs

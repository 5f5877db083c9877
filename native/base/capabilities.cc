#include "base/capabilities.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace templatefs {

Result<void> limit_capabilities(uint64_t kept) {
    for (int capability = 0; capability < 64; capability++) {
        if ((kept >> capability & 1) != 0) continue;
        // EINVAL: this kernel knows no more of them.
        if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EINVAL) return Errno::last();
    }
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2]{};
    TRY(checked_void(static_cast<int>(::syscall(SYS_capget, &header, data))));
    for (int half = 0; half < 2; half++) {
        data[half].permitted &= static_cast<uint32_t>(kept >> (32 * half));
        data[half].effective = data[half].permitted;
        data[half].inheritable = 0;
    }
    TRY(checked_void(::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)));
    return checked_void(static_cast<int>(::syscall(SYS_capset, &header, data)));
}

}  // namespace templatefs

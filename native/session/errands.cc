#include "session/errands.h"

#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "wire/fuse_abi.h"

namespace templatefs {

void Errands::step() {
    std::array<std::byte, sizeof(Errand) + kNodeidsPerErrand * sizeof(uint64_t)> message;
    for (;;) {
        const ssize_t size = ::recv(parts_.answers.get(), message.data(), message.size(), 0);
        if (size < static_cast<ssize_t>(sizeof(Errand))) return;
        Errand errand;
        std::memcpy(&errand, message.data(), sizeof errand);
        start(errand, std::span(message).first(static_cast<size_t>(size)).subspan(sizeof errand));
    }
}

// A grandchild does it and answers, for as long as that may take; nobody has to wait for it.
void Errands::start(const Errand& errand, std::span<const std::byte> nodeids) const {
    const pid_t child = ::fork();
    if (child == 0) {
        const pid_t grandchild = ::fork();
        if (grandchild < 0) answer(errand, EAGAIN);
        if (grandchild != 0) ::_exit(0);
        // Who ends a moment after the holder would have the container look mounted.
        ::close(parts_.area_lock.get());
        int error = 0;
        if (errand.kind == ErrandKind::DropPages) drop_pages(nodeids);
        else error = unmount(errand.kind == ErrandKind::UnmountByForce);
        answer(errand, error);
        ::_exit(0);
    }
    if (child < 0) answer(errand, EAGAIN);
    else (void)::waitpid(child, nullptr, 0);
}

int Errands::unmount(bool force) const {
    const int flags = force ? MNT_FORCE | MNT_DETACH : UMOUNT_NOFOLLOW;
    return ::umount2(parts_.mountpoint.c_str(), flags) == 0 ? 0 : errno;
}

void Errands::drop_pages(std::span<const std::byte> nodeids) const {
    for (; nodeids.size() >= sizeof(uint64_t); nodeids = nodeids.subspan(sizeof(uint64_t))) {
        struct {
            fuse_out_header header;
            fuse_notify_inval_inode_out inode;
        } notification{};
        notification.header.len = sizeof notification;
        notification.header.error = FUSE_NOTIFY_INVAL_INODE;
        std::memcpy(&notification.inode.ino, nodeids.data(), sizeof(uint64_t));
        // ENOENT: the kernel has no such inode, so no pages of it either.
        (void)!::write(parts_.device.get(), &notification, sizeof notification);
    }
}

void Errands::answer(const Errand& errand, int error) const {
    const ErrandDone done{errand, error};
    (void)!::send(parts_.answers.get(), &done, sizeof done, MSG_NOSIGNAL);
}

}  // namespace templatefs

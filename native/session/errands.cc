#include "session/errands.h"

#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "control/control_server.h"
#include "wire/fuse_abi.h"

namespace templatefs {

void Errands::watch(std::vector<pollfd>& fds) const {
    fds.push_back({parts_.answers.get(), POLLIN, 0});
    if (child_fd_.valid()) fds.push_back({child_fd_.get(), POLLIN, 0});
}

void Errands::step() {
    answer_ended();
    while (take()) {
    }
}

bool Errands::take() {
    std::vector<std::byte> message(sizeof(DropPages) + kNodeidsPerMessage * sizeof(uint64_t));
    const ssize_t size = ::recv(parts_.answers.get(), message.data(), message.size(), 0);
    if (size <= 0) return false;
    if (size >= static_cast<ssize_t>(sizeof(DropPages))) drop_pages(std::span(message).first(static_cast<size_t>(size)));
    else if (size == 1 && child_ == 0) unmount(static_cast<char>(message[0]) == 1);
    return true;
}

void Errands::unmount(bool force) {
    child_ = ::fork();
    if (child_ == 0) {
        keep_no_lock();
        const int flags = force ? MNT_FORCE | MNT_DETACH : UMOUNT_NOFOLLOW;
        ::_exit(::umount2(parts_.mountpoint.c_str(), flags) == 0 ? 0 : errno);
    }
    child_fd_ = UniqueFd(child_ > 0 ? static_cast<int>(::syscall(SYS_pidfd_open, child_, 0)) : -1);
    if (child_fd_.valid()) return;
    // No process or descriptor left: said at once, as a child that cannot be waited for would block us.
    send(EAGAIN);
    child_ = 0;
}

// A grandchild does it and answers, for as long as that may take; nobody has to wait for it.
void Errands::drop_pages(std::span<const std::byte> message) const {
    const pid_t child = ::fork();
    if (child == 0) {
        if (::fork() != 0) ::_exit(0);
        keep_no_lock();
        DropPages request;
        std::memcpy(&request, message.data(), sizeof request);
        for (size_t at = sizeof request; at + sizeof(uint64_t) <= message.size(); at += sizeof(uint64_t)) {
            struct {
                fuse_out_header header;
                fuse_notify_inval_inode_out inode;
            } notification{};
            notification.header.len = sizeof notification;
            notification.header.error = FUSE_NOTIFY_INVAL_INODE;
            std::memcpy(&notification.inode.ino, message.data() + at, sizeof(uint64_t));
            // ENOENT: the kernel has no such inode, so no pages of it either.
            (void)!::write(parts_.device.get(), &notification, sizeof notification);
        }
        const PagesDropped dropped{request.number, 0};
        (void)!::send(parts_.answers.get(), &dropped, sizeof dropped, MSG_NOSIGNAL);
        ::_exit(0);
    }
    if (child > 0) (void)::waitpid(child, nullptr, 0);
}

// A child that ends a moment after the holder would have the container look mounted.
void Errands::keep_no_lock() const { ::close(parts_.area_lock.get()); }

void Errands::answer_ended() {
    if (child_ == 0) return;
    int status = 0;
    const pid_t ended = ::waitpid(child_, &status, WNOHANG);
    if (ended == 0) return;
    child_ = 0;
    child_fd_.reset();
    // A child that somebody else has waited for was ended with an upgrade that failed.
    send(ended > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : EIO);
}

void Errands::send(int32_t error) const { (void)!::send(parts_.answers.get(), &error, sizeof error, MSG_NOSIGNAL); }

}  // namespace templatefs

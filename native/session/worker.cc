#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>

#include "base/failure.h"
#include "control/control_server.h"
#include "session/engine.h"

namespace templatefs {
namespace {

// So many requests are served before the control socket is looked at.
constexpr int kBatch = 256;

Result<void> watch(int epoll, int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    return checked_void(::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

Result<int> serve(EngineParts& parts, UniqueFd ready, int64_t holder) {
    SharedState state = TRY(SharedState::attach(parts.state.get()));
    TreeImage tree = TRY(TreeImage::open(parts.trees.get(), parts.tree.c_str()));
    PrivateArea area = TRY(PrivateArea::open(parts.store.get(), parts.container));
    UniqueFd objects(::fcntl(parts.objects.get(), F_DUPFD_CLOEXEC, 3));
    Root root({std::move(objects), std::move(tree), std::move(area), parts.shared, parts.ids, parts.device.get(),
               parts.whole_copy_limit, parts.max_nodes},
              state);
    if (state.header().root_slot == 0) TRY(root.recover());
    else TRY(root.settle());

    Session session(root, parts.device.get(), parts.session);
    UniqueFd epoll(TRY(checked(::epoll_create1(EPOLL_CLOEXEC))));
    ControlServer control(root, {parts.container, parts.mountpoint, holder}, parts.control.get(), epoll.get());
    TRY(watch(epoll.get(), parts.device.get()));
    TRY(watch(epoll.get(), parts.control.get()));
    if (session.initialized()) TRY(session.request_resend());

    for (;;) {
        for (int i = 0; i < kBatch; i++) {
            Session::Step step = TRY(session.step());
            if (step == Session::Step::Ended) {
                root.finish();
                control.ended();
                return 0;
            }
            if (step == Session::Step::Idle) break;
        }
        if (ready.valid() && state.header().initialized == 2) {
            (void)!::write(ready.get(), "", 1);
            ready.reset();
        }
        epoll_event events[16];
        int count = ::epoll_wait(epoll.get(), events, 16, -1);
        if (count < 0 && errno != EINTR) return Errno::last();
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == parts.device.get()) continue;
            if (fd == parts.control.get()) control.accept();
            else if (control.owns(fd)) control.ready(fd);
        }
    }
}

}  // namespace

int run_worker(EngineParts& parts, UniqueFd ready, int64_t holder) {
    ::prctl(PR_SET_NAME, "tplfs-worker");
    ::signal(SIGTERM, SIG_DFL);
    auto served = serve(parts, std::move(ready), holder);
    if (served.ok()) return served.value();
    ExitStatus status = served.error_code() == EUCLEAN ? kExitIntegrity : kExitFailed;
    const char* code = status == kExitIntegrity ? "INTEGRITY" : "ENGINE_FAILED";
    return fail(status, code, "the engine of %s cannot serve its root: %s", parts.container.c_str(),
                errno_text(served.error()));
}

}  // namespace templatefs

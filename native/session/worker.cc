#include <fcntl.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <ctime>
#include <memory>

#include "base/failure.h"
#include "base/proc.h"
#include "control/control_server.h"
#include "session/code_pages.h"
#include "session/confine.h"
#include "session/engine.h"
#include "session/patience.h"

namespace templatefs {
namespace {

// So many requests are served before the control socket is looked at.
constexpr int kBatch = 256;

// A worker that has had nothing to do for so long gives back what it can map again.
constexpr int kRestAfterMs = 1000;

Result<void> watch(int epoll, int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    return checked_void(::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

// Where messages go when the command that mounted has ended: run/<ct>/log.
struct Output {
    UniqueFd log;
    UniqueFd null;

    static Result<Output> open(int run) {
        Output output;
        output.null = TRY(open_at(AT_FDCWD, "/dev/null", O_RDWR));
        auto log = open_at(run, "log", O_WRONLY | O_CREAT | O_APPEND, 0600);
        // A store that is full or has become read-only is served on, without a log.
        if (!log.ok()) log = open_at(AT_FDCWD, "/dev/null", O_WRONLY);
        output.log = TRY(std::move(log));
        return output;
    }
    void redirect() {
        tell_errors_to_people(nullptr);
        ::dup3(null.get(), 0, 0);
        ::dup3(null.get(), 1, 0);
        ::dup3(log.get(), 2, 0);
        log.reset();
        null.reset();
    }
};

int64_t monotonic_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// Gives up what serving the root does not take, for good. The syncer's threads are confined as this one is.
Result<std::unique_ptr<Syncer>> confine(EngineParts& parts) {
    parts.run.reset();
    parts.answers.reset();
    TRY(enter_view(parts.area.get(), parts.proc.get()));
    proc_is_current_folder();
    TRY(drop_privileges());
    // Without threads (a limit of the host) every fsync is waited for.
    auto syncer = Syncer::start();
    TRY(filter_system_calls());
    return syncer.ok() ? syncer.take() : nullptr;
}

Result<int> serve(EngineParts& parts, UniqueFd ready, int64_t holder) {
    SharedState state = TRY(SharedState::attach(parts.state.get()));
    Output output = TRY(Output::open(parts.run.get()));
    Root root({std::move(parts.objects), TRY(TreeImage::map(parts.tree.get())),
               TRY(PrivateArea::open_base(TRY(open_at(parts.area.get(), ".", O_RDONLY | O_DIRECTORY)))), parts.shared, parts.ids,
               parts.device.get(), parts.outside.get(), parts.whole_copy_limit, parts.max_nodes},
              state);
    // Before anything that a container wrote is looked at.
    const std::unique_ptr<Syncer> syncer = TRY(confine(parts));
    if (state.header().root_slot == 0) TRY(root.recover());
    else TRY(root.settle());

    Session session(root, parts.device.get(), parts.session);
    UniqueFd epoll(TRY(checked(::epoll_create1(EPOLL_CLOEXEC))));
    ControlServer control(root, {parts.container, parts.mountpoint, holder}, parts.control.get(), parts.asks.get(), epoll.get());
    TRY(watch(epoll.get(), parts.device.get()));
    TRY(watch(epoll.get(), parts.control.get()));
    TRY(watch(epoll.get(), parts.asks.get()));
    if (syncer) {
        session.use(*syncer);
        TRY(watch(epoll.get(), syncer->done_fd()));
    }
    if (session.initialized()) TRY(session.request_resend());

    Patience patience;
    bool has_worked = true;
    bool watched = true;
    for (;;) {
        // A client of the control socket wants the private area to stay as it is: requests wait.
        const int frozen_ms = control.frozen_ms();
        if (watched == (frozen_ms >= 0)) {
            watched = !watched;
            for (int fd : {parts.device.get(), syncer ? syncer->done_fd() : -1}) {
                if (fd < 0) continue;
                TRY(watched ? watch(epoll.get(), fd) : checked_void(::epoll_ctl(epoll.get(), EPOLL_CTL_DEL, fd, nullptr)));
            }
        }
        for (int served = 0; watched && served < kBatch;) {
            if (syncer && syncer->is_at_work()) session.answer_syncs();
            Session::Step step = TRY(session.step());
            if (step == Session::Step::Ended) {
                root.finish();
                control.ended();
                return 0;
            }
            if (step == Session::Step::Served) {
                if (patience.was_idle()) patience.found(monotonic_ns());
                served++;
                has_worked = true;
            } else if (patience.look_again(monotonic_ns())) {
                ::sched_yield();
            } else {
                break;
            }
        }
        if (ready.valid() && state.header().initialized == 2) {
            // From here on nobody waits for us.
            output.redirect();
            (void)!::write(ready.get(), "", 1);
            ready.reset();
        }
        epoll_event events[16];
        const int rest_ms = has_worked ? kRestAfterMs : -1;
        int count = ::epoll_wait(epoll.get(), events, 16, watched ? rest_ms : frozen_ms);
        if (count < 0 && errno != EINTR) return Errno::last();
        if (count == 0 && watched) {
            root.give_back_tree_pages();
            give_back_code_pages();
            has_worked = false;
        }
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            // Both are looked at above.
            if (fd == parts.device.get() || (syncer && fd == syncer->done_fd())) continue;
            if (fd == parts.control.get()) control.accept();
            else if (fd == parts.asks.get()) control.holder_answered();
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
    const char* code = status == kExitIntegrity ? "INTEGRITY" : failure_code(served.error(), "ENGINE_FAILED");
    return fail(status, code, "the engine of %s cannot serve its root: %s", parts.container.c_str(),
                errno_text(served.error()));
}

}  // namespace templatefs

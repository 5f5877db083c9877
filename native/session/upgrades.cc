#include "session/upgrades.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <vector>

#include "private/settings.h"
#include "session/code_pages.h"
#include "session/handover.h"
#include "session/upgrade_request.h"

namespace templatefs {
namespace {

constexpr int kProbationSeconds = 60;
constexpr int kMaxCrashes = 3;

timespec now() {
    timespec time;
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return time;
}

}  // namespace

bool has_crashed(int status) {
    if (WIFSIGNALED(status)) return WTERMSIG(status) != SIGKILL;
    return WIFEXITED(status) && WEXITSTATUS(status) != 0;
}

Upgrades::Upgrades(EngineParts& parts) : parts_(parts) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    // Blocked before anybody is told that this holder can be asked: the signal would end it.
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    signals_ = UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    probation_end_ = now();
    probation_end_.tv_sec += kProbationSeconds;
}

void Upgrades::end_probation_in_time() {
    // The old executable takes space on the disk as long as it is open.
    if (parts_.takeover.previous.valid() && now().tv_sec >= probation_end_.tv_sec) parts_.takeover.previous.reset();
}

std::optional<int> Upgrades::wait_for(pid_t worker, Errands& errands) {
    const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, worker, 0)));
    for (;;) {
        int status = 0;
        const pid_t ended = ::waitpid(worker, &status, WNOHANG);
        if (ended == worker) return status;
        if (ended < 0 && errno == ECHILD) return 0;
        std::vector<pollfd> wait{{pidfd.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}};
        errands.watch(wait);
        give_back_code_pages();
        // Without a pidfd (no descriptors left) the worker is looked after every tenth of a second.
        (void)::poll(wait.data(), wait.size(), !pidfd.valid() ? 100 : parts_.takeover.previous.valid() ? kProbationSeconds * 1000 : -1);
        end_probation_in_time();
        errands.step();
        if (wait[1].revents == 0) continue;
        signalfd_siginfo info;
        while (::read(signals_.get(), &info, sizeof info) > 0) {
        }
        const auto outcome = serve(worker, status);
        if (outcome == HandOverOutcome::Taken) return std::nullopt;
        if (outcome == HandOverOutcome::Lost) return status;
    }
}

// nullopt when nobody asks for anything.
std::optional<HandOverOutcome> Upgrades::serve(pid_t worker, int& status) {
    auto request = take_upgrade_request(parts_.run.get());
    if (!request.ok()) return std::nullopt;
    const std::string& id = request.value().id;
    const UniqueFd binary(::open(request.value().engine.c_str(), O_RDONLY | O_CLOEXEC));
    if (!binary.valid()) {
        answer_upgrade(parts_.run.get(), id, std::string("cannot open it: ") + std::strerror(errno));
        return HandOverOutcome::Refused;
    }
    const UniqueFd previous(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    const HandOver done = hand_over(parts_, {binary.get(), previous.get(), id}, worker);
    if (done.outcome == HandOverOutcome::Taken) return done.outcome;
    status = done.worker_status;
    std::fprintf(stderr, "templatefs-engine: %s is not upgraded: %s\n", parts_.container.c_str(), done.why.c_str());
    answer_upgrade(parts_.run.get(), id, done.why);
    return done.outcome;
}

bool Upgrades::hand_back(int status) {
    end_probation_in_time();
    if (!parts_.takeover.previous.valid()) return false;
    crashes_ = has_crashed(status) ? crashes_ + 1 : 0;
    if (crashes_ < kMaxCrashes) return false;
    std::fprintf(stderr, "templatefs-engine: the new engine of %s crashes, the old one goes on\n", parts_.container.c_str());
    const UniqueFd previous = std::move(parts_.takeover.previous);
    return hand_over(parts_, {previous.get(), -1, {}}, 0).outcome == HandOverOutcome::Taken;
}

}  // namespace templatefs

#include "tools/area_copy_command.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <string>

#include "base/failure.h"
#include "control/engine_request.h"
#include "control/frame.h"
#include "private/area.h"
#include "private/area_copy.h"
#include "private/host_quota.h"
#include "tools/options.h"

namespace templatefs {
namespace {

// What the engine allows at most; a container that is kept waiting longer would take it for a broken disk.
constexpr char kFreezeSeconds[] = "60";
constexpr int kAnswerMs = 30'000;

int64_t now_us() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

// Keeps a private area as it is: by its lock where no engine serves it, else by having its engine wait.
class Stillness {
public:
    // An exit status, or 0.
    int begin(int store, const std::string& container, PrivateArea& area) {
        auto lock = area.lock();
        if (lock.ok()) {
            lock_ = lock.take();
            return kExitOk;
        }
        if (lock.error_code() != EWOULDBLOCK)
            return fail(kExitFailed, failure_code(lock.error(), "FAILED"), "cannot lock the private area of %s: %s", container.c_str(),
                        errno_text(lock.error()));
        auto run = open_at(store, ("run/" + container).c_str(), O_RDONLY | O_DIRECTORY);
        auto socket = run.ok() ? connect_to_engine(run.value().get(), kAnswerMs) : Result<UniqueFd>(run.error());
        if (!socket.ok())
            return fail(kExitBusy, "BUSY", "the private area of %s is in use, and no engine answers for it: %s", container.c_str(),
                        errno_text(socket.error()));
        socket_ = socket.take();
        auto reply = ask_connected(socket_.get(), {"freeze", kFreezeSeconds});
        if (!reply.ok())
            return fail(kExitFailed, "ENGINE_FAILED", "the engine of %s does not answer: %s", container.c_str(), errno_text(reply.error()));
        const auto fields = split_fields(reply.value());
        if (fields.ok() && fields.value().front() == "ok") {
            since_us_ = now_us();
            return kExitOk;
        }
        if (!fields.ok() || fields.value().size() < 3)
            return fail(kExitFailed, "ENGINE_FAILED", "the engine of %s gives an answer of another form", container.c_str());
        // An engine from before there were copies says that it does not know the verb.
        if (fields.value()[1] == "USAGE")
            return fail(kExitBusy, "BUSY", "the engine of %s cannot wait while its private area is copied: upgrade it, or unmount it",
                        container.c_str());
        return fail(kExitBusy, "BUSY", "the engine of %s: %s", container.c_str(), std::string(fields.value()[2]).c_str());
    }

    // Whether it held until now; then it ends.
    bool end() {
        if (!socket_.valid()) return true;
        pollfd closed{socket_.get(), POLLIN, 0};
        const bool held = ::poll(&closed, 1, 0) == 0;
        socket_.reset();
        waited_us_ = now_us() - since_us_;
        return held;
    }
    int64_t waited_us() const { return waited_us_; }

private:
    UniqueFd lock_;
    UniqueFd socket_;
    int64_t since_us_ = 0, waited_us_ = 0;
};

// Contents that are copied late keep their descriptors.
void allow_descriptors() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

Result<UniqueFd> make_target(const std::string& path) {
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos || slash == 0 || slash + 1 == path.size()) return Errno(EINVAL);
    const char* name = path.c_str() + slash + 1;
    // The administrator's own path: a symlink on the way is followed.
    UniqueFd parent(::open(path.substr(0, slash).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!parent.valid()) return Errno::last();
    TRY(make_area_folder(parent.get(), name));
    return open_at(parent.get(), name, O_RDONLY | O_DIRECTORY);
}

}  // namespace

int run_area_copy(int argc, char** argv) {
    Options options(argc, argv);
    std::string store, container, to;
    const bool named = options.value("--store", store) && options.value("--container", container) && options.value("--to", to);
    if (!named || options.rest() != nullptr) return fail(kExitUsage, "USAGE", "area copy --store DIR --container CT[@ID] --to DIR");
    const char* ct = container.c_str();
    UniqueFd folder(::open(store.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder.valid()) return fail(kExitFailed, "FAILED", "cannot open the store %s: %s", store.c_str(), errno_text(Errno::last()));
    auto area = PrivateArea::open_to_look(folder.get(), container);
    if (area.error_code() == ENOENT) return fail(kExitNoContainer, "CONTAINER_NOT_FOUND", "no container or snapshot %s", ct);
    if (!area.ok())
        return fail(area.error_code() == EUCLEAN ? kExitIntegrity : kExitFailed, failure_code(area.error(), "INTEGRITY"),
                    "cannot open the private area of %s: %s", ct, errno_text(area.error()));
    auto target = make_target(to);
    if (!target.ok())
        return fail(kExitFailed, failure_code(target.error(), "FAILED"), "cannot make %s: %s", to.c_str(), errno_text(target.error()));
    allow_descriptors();

    AreaCopy copy(area.value(), target.value().get());
    Stillness still;
    if (int status = still.begin(folder.get(), container, area.value()); status != kExitOk) return status;
    auto copied = copy.copy_entries();
    if (!still.end()) {
        return fail(kExitBusy, "BUSY", "the engine of %s did not wait until its private area was copied: it was killed or upgraded, or "
                    "it would have waited for more than %s seconds", ct, kFreezeSeconds);
    }
    if (copied.ok()) copied = copy.copy_late_contents();
    if (copied.error_code() == EUCLEAN)
        return fail(kExitIntegrity, "INTEGRITY", "%s in the private area of %s has a broken node xattr", copy.place().c_str(), ct);
    if (!copied.ok())
        return fail(kExitFailed, failure_code(copied.error(), "FAILED"), "cannot copy %s of the private area of %s: %s",
                    copy.place().c_str(), ct, errno_text(copied.error()));
    if (::syncfs(target.value().get()) < 0) {
        const Errno error = Errno::last();
        return fail(kExitFailed, failure_code(error, "IO_ERROR"), "cannot sync %s: %s", to.c_str(), errno_text(error));
    }
    const AreaCopyTotals& totals = copy.totals();
    std::printf("entries %llu\nlinks %llu\ncontents %llu\nbytes %llu\ncloned %s\nwaited-us %lld\n",
                static_cast<unsigned long long>(totals.entries), static_cast<unsigned long long>(totals.links),
                static_cast<unsigned long long>(totals.contents), static_cast<unsigned long long>(totals.bytes),
                totals.cloned ? "yes" : "no", static_cast<long long>(still.waited_us()));
    return kExitOk;
}

}  // namespace templatefs

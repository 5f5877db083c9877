#pragma once
// The asking side of the control socket: docs/protocols/control.md.

#include <initializer_list>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace templatefs {

// Sends one request to the socket `control` in `run` (run/<ct>/) and waits for the reply. Returns its body, fields that each end with
// NUL. ENOENT and ECONNREFUSED: no engine is there; ETIMEDOUT, EPROTO: it does not answer as it should.
Result<std::string> ask_engine(int run, std::initializer_list<std::string_view> fields, int timeout_ms);

// The same in two steps, for requests that hold as long as the connection does.
Result<UniqueFd> connect_to_engine(int run, int timeout_ms);
Result<std::string> ask_connected(int socket, std::initializer_list<std::string_view> fields);

}  // namespace templatefs

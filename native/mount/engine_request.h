#pragma once
// The asking side of the control socket: docs/protocols/control.md.

#include <initializer_list>
#include <string>
#include <string_view>

#include "base/result.h"

namespace templatefs {

// Sends one request to the socket `control` in `run` (run/<ct>/) and waits for the reply. Returns its body, fields that each end with
// NUL. ENOENT and ECONNREFUSED: no engine is there; ETIMEDOUT, EPROTO: it does not answer as it should.
Result<std::string> ask_engine(int run, std::initializer_list<std::string_view> fields, int timeout_ms);

}  // namespace templatefs

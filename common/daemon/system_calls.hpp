#pragma once

#include <expected>
#include <string>

namespace common::daemon {

/// From now on every thread of this process makes only the system calls of one list.
///
/// A call that a daemon never makes and an intruder would (another program started, a debugger, a file system mounted)
/// ends the process at once; the kernel's audit log has it (type 1326). Any other fails with ENOSYS, as on a kernel
/// that lacks it: a newer libc tries what is new and then falls back, while EPERM it would take for an answer. Nothing
/// logs those: each new thread begins with one (clone3). Memory is either writable or executable, sockets are Unix,
/// IPv4, IPv6 or ask for routes, and signals go to the process itself.
///
/// Needs "no new privileges"; cannot be undone. Error: a sentence.
std::expected<void, std::string> restrict_calls();

}  // namespace common::daemon

#pragma once

#include <string_view>

namespace common::daemon {

/// Tells the service manager, as sd_notify(3) does: a datagram to $NOTIFY_SOCKET, such as "READY=1". Nothing when there
/// is none.
void notify(std::string_view state);
/// "RELOADING=1" with the time that the protocol wants beside it.
void notify_reloading();

}  // namespace common::daemon

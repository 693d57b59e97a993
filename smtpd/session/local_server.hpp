#pragma once

#include <optional>

#include "common/config/config.hpp"

namespace smtpd {

/// The server for programs of this machine, at [local] socket (without an address where that is off): under the terms
/// of the first server of kind smtp, but who connects has no need to log in, and may send to everybody. Its id is that
/// server's with "/local" behind it, which no file is called. nullopt: there is no server of kind smtp.
///
/// Other Unix sockets of servers give no such rights: a proxy that connects there speaks for strangers.
std::optional<common::config::Server> make_local_server(const common::config::Config& config);

}  // namespace smtpd

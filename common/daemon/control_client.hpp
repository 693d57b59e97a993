#pragma once

#include <chrono>
#include <expected>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

/// The control socket of a daemon, from the asking side. The protocol: a Unix stream socket, DIR/NAME.ctl in the run
/// directory (mode 0600; the daemon answers root and its own user alone). One JSON object a line in, one JSON object
/// a line out, as often as one likes; a question is at most 64 KiB, an answer 1 MiB.
///
///     {"command":"status"}
///     {"ok":true,"name":"smtpd","pid":17,"version":"0.1.0","started":"2024-05-01T12:00:00Z","user":"pennypost",
///      "addresses":[{"server":"mx","address":"127.0.0.1:2525","tls":false}],
///      "connections":{"open":3,"total":41,"refused":0}, ... what the daemon adds}
///     {"command":"reload"}
///     {"ok":true,"notes":["store.path: needs a restart"]}
///     {"ok":false,"error":"/etc/pennypost/servers/mx.toml:3: listen: ..."}
///
/// Anything else: {"ok":false,"error":"..."}.
namespace common::daemon {

/// Asks once and waits for the answer, `patience` at most. The answer may still say "ok":false. Error: a sentence why
/// there is none ("smtpd is not running (no ...)").
std::expected<nlohmann::json, std::string> ask(const std::filesystem::path& socket, std::string_view command,
                                               std::chrono::milliseconds patience = std::chrono::seconds{30});

/// DIR/NAME.ctl
std::filesystem::path control_path(const std::filesystem::path& run_directory, std::string_view name);

}  // namespace common::daemon

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <CLI/App.hpp>

#include "mailstore/directory.hpp"

/// Options of `pennypost domain add --remote` and `domain set` for a remote domain.
namespace tools {

/// As given on the line; empty or nullopt: not given.
struct RemoteOptions {
  std::optional<bool> allow_relay;
  std::optional<bool> no_esmtp;
  std::string route, security, username, password_file, rate, connections;
  bool given() const;
};

void add_remote_options(CLI::App* command, RemoteOptions& options);
/// Puts what was given in place of what was set before. Refuses (usage) what cannot be, and reads the password's file.
void apply(const RemoteOptions& options, mailstore::RemoteSettings& settings);
/// "by dns, TLS required, ..."; the password is not in it.
std::string describe_remote(const mailstore::RemoteSettings& settings);
std::string_view security_name(mailstore::Security security);

}  // namespace tools

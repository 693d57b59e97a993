#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/App.hpp>

#include "mailstore/directory.hpp"

/// Options of `pennypost domain add` and `domain set` about other people's servers: those that mail of a remote domain
/// is sent on to, and those that hold mail for a domain of ours.
namespace tools {

// As given on the line; empty or nullopt: not given.
/// How to meet the other server, whichever it is.
struct HostOptions {
  std::string security, username, password_file;
  bool given() const { return !(security.empty() && username.empty() && password_file.empty()); }
};
struct RemoteOptions {
  std::optional<bool> allow_relay;
  std::optional<bool> no_esmtp;
  std::optional<bool> hold;
  std::string route, rate, connections;
  std::vector<std::string> dequeue_accounts, no_dequeue_accounts;
  bool given() const;
};
struct FetchOptions {
  std::string from, by, every;
  bool given() const { return !(from.empty() && by.empty() && every.empty()); }
};

void add_host_options(CLI::App* command, HostOptions& options);
void add_remote_options(CLI::App* command, RemoteOptions& options);
void add_fetch_options(CLI::App* command, FetchOptions& options);
/// Puts what was given in place of what was set before. Refuses (usage) what cannot be, and reads the password's file.
void apply(const RemoteOptions& options, const HostOptions& host, mailstore::RemoteSettings& settings);
void apply(const FetchOptions& options, const HostOptions& host, mailstore::FetchSettings& settings);
/// The command ends when one of the accounts is nobody's.
void need_accounts(mailstore::DirectoryView& view, const mailstore::RemoteSettings& settings);
/// "by dns, TLS required, ..."; the password is not in it.
std::string describe_remote(const mailstore::RemoteSettings& settings);
/// "mail is fetched from ... by ETRN every 15m"; empty: it is not.
std::string describe_fetch(const mailstore::FetchSettings& settings);
mailstore::Security parse_security(const std::string& text);
std::string_view security_name(mailstore::Security security);

}  // namespace tools

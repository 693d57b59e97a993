#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <string>

#include "tools/sendmail/header.hpp"
#include "tools/sendmail/options.hpp"

namespace tools::sendmail {

/// Where mail goes on this machine.
struct Place {
  std::filesystem::path socket, spool;  ///< empty: there is none
  std::string domain;                   ///< of addresses without one; empty: smtpd knows
  std::uint64_t octets = 0;             ///< no longer message is taken; 0: no limit
};

/// By the configuration; with a mistake in a server's file by pennypost.toml alone. Who may not read that, or finds
/// none or a broken one, gets what it is by default: smtpd may well run with what it read before.
std::expected<Place, Refusal> find_place(const std::string& config);

/// The user who calls, and the moment. Error: nobody has this number.
std::expected<Author, Refusal> find_author(const Options& options, const Place& place);

}  // namespace tools::sendmail

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

/// By the configuration. Who may not read it, or finds none, gets what it is by default. A broken one: try_again.
std::expected<Place, Refusal> find_place(const std::string& config);

/// The user who calls, and the moment. Error: nobody has this number.
std::expected<Author, Refusal> find_author(const Options& options, const Place& place);

}  // namespace tools::sendmail

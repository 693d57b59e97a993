#pragma once

#include <expected>
#include <filesystem>
#include <string>

#include "common/config/config.hpp"

/// The folders of a virtual server (LEGACY S06), and what goes through them.
namespace smtpd::folders {

/// Where they lie. All empty: the server has none.
struct Home {
  std::filesystem::path pickup;  ///< empty also for kind lmtp, which sends nothing on its own
  std::filesystem::path drop, badmail;
};
Home home_of(const common::config::Server& server);

/// Makes those that are missing, for the user whose name is given (empty: for us); those that are there keep their
/// modes. Refuses a home that is not on a disk
/// of this machine, and a pickup folder that everybody may write to: who can put a file there sends as anybody. Error:
/// a sentence with the remedy.
std::expected<void, std::string> make_home(const common::config::Server& server, const std::string& user);
/// Error: everybody may write there.
std::expected<void, std::string> check_pickup(const std::filesystem::path& folder);
/// With the rights that are left to us: each can be worked in.
std::expected<void, std::string> try_home(const common::config::Server& server);

}  // namespace smtpd::folders

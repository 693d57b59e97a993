#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "mailstore/queue.hpp"
#include "smtpd/folders/badmail.hpp"
#include "tools/pennypost/program.hpp"

namespace tools {

/// One piece of badmail: a message, held in the queue for some recipients, or a file in a server's badmail folder.
struct BadmailItem {
  std::string id;
  smtpd::folders::BadmailCause cause = smtpd::folders::BadmailCause::general_failure;
  std::string why;
  std::string server;
  std::uint64_t octets = 0;
  std::vector<mailstore::QueuedRecipient> rows;  ///< empty: it is a file
  std::filesystem::path file;                    ///< ID.BAD
  std::string name;                              ///< that the file had where it was put
};

struct BadmailSelection {
  std::vector<std::string> ids;
  std::string cause, server, sender, recipient, older;
  bool all = false;
  bool dry_run = false;
  bool filters() const;
};
void add_badmail_filters(CLI::App* command, BadmailSelection& selection);
/// The filters, and IDs, --all and --dry-run.
void add_badmail_selection(CLI::App* command, BadmailSelection& selection);

/// What is selected, all when nothing is said, oldest first. Refuses (usage) what cannot be understood; an id of which
/// there is no badmail ends the command.
std::vector<BadmailItem> find_badmail(Session& session, const BadmailSelection& selection);
/// The octets of a file in pieces; a link, a device and the like end the command.
void each_piece_of_file(const std::filesystem::path& file, const std::function<void(std::string_view)>& take);

}  // namespace tools

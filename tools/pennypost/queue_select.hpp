#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "mailstore/queue.hpp"
#include "tools/pennypost/program.hpp"

namespace tools {

/// Which recipients of the queue a line names: messages by id, or all that fit a filter.
struct QueueSelection {
  std::vector<std::string> ids;
  std::string domain, sender, recipient, state, older, newer, error;
  bool all = false;
  bool dry_run = false;

  bool filters() const;
};

void add_queue_filters(CLI::App* command, QueueSelection& selection);
/// The filters, and IDs, --all and --dry-run.
void add_queue_selection(CLI::App* command, QueueSelection& selection);

struct QueueRow {
  mailstore::QueuedRecipient recipient;
  mailstore::QueueDomain domain;
  std::string_view state;
};
/// Calls `each` for what is selected, in pages; the whole queue when nothing is said. Refuses (usage) what cannot be
/// understood; a message that is not in the queue ends the command.
void each_queued(Session& session, const QueueSelection& selection, const std::function<void(const QueueRow&)>& each);

/// What the directory says of sending on to this domain; nullopt: nothing.
std::optional<mailstore::RemoteSettings> remote_settings(Session& session, const std::string& domain);
mailstore::MessageId parse_queue_id(const std::string& text);
mailstore::Time now();
inline Time shown_time(mailstore::Time time) {
  return Time{static_cast<std::uint64_t>(time.time_since_epoch().count())};
}
/// "root: text", or "root" alone: whose order it is. Asked before the tool becomes the store's owner.
std::string reason_of(const std::string& text);

/// Prints rows as `queue list` does.
class QueueList {
 public:
  explicit QueueList(Format format);
  void row(const QueueRow& row);
  void end() { list_.end(); }

 private:
  List list_;
};

}  // namespace tools

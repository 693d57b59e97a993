#include "tools/pennypost/badmail_items.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <set>

#include <fmt/format.h>

#include "common/config/values.hpp"
#include "tools/pennypost/queue_select.hpp"

namespace tools {
namespace {

using smtpd::folders::BadmailCause;

constexpr std::size_t page_rows = 200;
constexpr std::size_t note_limit = 16384;

bool contains(std::string_view text, std::string_view part) {
  return part.empty() || text.find(part) != std::string_view::npos;
}

std::string read_note(const std::filesystem::path& file) {
  std::ifstream in{file, std::ios::binary};
  std::string text(note_limit, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  return text;
}

void add_messages(Session& session, std::vector<BadmailItem>& items) {
  auto queue = session.store().queue();
  mailstore::QueueFilter filter;
  filter.state = mailstore::QueueState::held;
  std::map<mailstore::MessageId, std::size_t> places;
  std::optional<mailstore::QueuePlace> after;
  for (bool more = true; more;) {
    auto page = need(queue.list(filter, after, page_rows), "the queue could not be read");
    for (auto& row : page.recipients) {
      const auto reason = smtpd::folders::parse_badmail_reason(row.reason);
      if (!reason) continue;
      const auto [place, fresh] = places.try_emplace(row.name.id, items.size());
      if (fresh) {
        items.push_back({.id = mailstore::format_id(row.name.id),
                         .cause = reason->cause,
                         .why = std::string(reason->why),
                         .server = row.server,
                         .octets = row.octets,
                         .rows = {},
                         .file = {},
                         .name = {}});
      }
      items[place->second].rows.push_back(std::move(row));
    }
    after = page.last;
    more = page.more;
  }
}

void add_files(const common::config::Server& server, std::vector<BadmailItem>& items) {
  if (server.home.empty()) return;
  std::error_code error;
  for (std::filesystem::directory_iterator at{server.home / "badmail", error}, end; !error && at != end;
       at.increment(error)) {
    const auto& file = at->path();
    struct stat about{};
    if (file.extension() != smtpd::folders::bad_file_suffix || !mailstore::parse_id(file.stem().native()) ||
        ::lstat(file.c_str(), &about) != 0)
      continue;
    auto beside = file;
    beside.replace_extension(smtpd::folders::bad_note_suffix);
    auto note = smtpd::folders::parse_badmail_note(read_note(beside));
    items.push_back({.id = file.stem().native(),
                     .cause = note.cause,
                     .why = std::move(note.why),
                     .server = server.id,
                     .octets = static_cast<std::uint64_t>(about.st_size),
                     .rows = {},
                     .file = file,
                     .name = std::move(note.file)});
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    fail(fmt::format("the badmail folder {} could not be read: {}", (server.home / "badmail").string(),
                     error.message()));
  }
}

}  // namespace

bool BadmailSelection::filters() const {
  return !(cause.empty() && server.empty() && sender.empty() && recipient.empty() && older.empty());
}

void add_badmail_filters(CLI::App* command, BadmailSelection& selection) {
  const auto option = [&](const char* name, std::string& value, const char* type, const char* description) {
    command->add_option(name, value, description)->type_name(type);
  };
  option("--cause", selection.cause, "CAUSE", "Of this cause");
  option("--server", selection.server, "NAME", "Of this virtual server");
  option("--sender", selection.sender, "TEXT", "With this in the reverse-path; <>: the null one");
  option("--recipient", selection.recipient, "TEXT", "With this in a recipient's address");
  option("--older", selection.older, "TIME", "Accepted, or found broken, longer ago, such as 2h");
}

void add_badmail_selection(CLI::App* command, BadmailSelection& selection) {
  command->add_option("ID", selection.ids, "The messages and files")->type_name("");
  add_badmail_filters(command, selection);
  command->add_flag("--all", selection.all, "All badmail");
  command->add_flag("--dry-run", selection.dry_run, "Lists what would be done with, and does nothing");
}

std::vector<BadmailItem> find_badmail(Session& session, const BadmailSelection& selection) {
  if (!selection.ids.empty() && (selection.filters() || selection.all)) refuse("say ids, or a filter, not both");
  if (selection.all && selection.filters()) refuse("say a filter or --all, not both");
  std::optional<BadmailCause> cause;
  if (!selection.cause.empty()) {
    cause = smtpd::folders::parse_badmail_cause(selection.cause);
    if (!cause)
      refuse(
          fmt::format("--cause {}: no such cause; there are: bad-pickup-file, general-failure, hop-count, ndr-of-dsn, "
                      "no-recipients, by-event",
                      selection.cause));
  }
  mailstore::Time older{};
  if (!selection.older.empty()) {
    const auto time = common::config::parse_time(selection.older);
    if (!time) refuse(fmt::format("--older {}: {}", selection.older, time.error()));
    older = now() - *time;
  }
  std::set<std::string> ids;
  for (const auto& id : selection.ids) ids.insert(mailstore::format_id(parse_queue_id(id)));

  std::vector<BadmailItem> items;
  // The store first: as root we become its owner, who may read the folders too.
  add_messages(session, items);
  for (const auto& server : session.config().servers) add_files(server, items);
  std::erase_if(items, [&](BadmailItem& item) {
    if (!ids.empty()) return !ids.contains(item.id);
    if (cause && item.cause != *cause) return true;
    if (!selection.server.empty() && item.server != selection.server) return true;
    if (!selection.older.empty() && mailstore::accepted_at(*mailstore::parse_id(item.id)) >= older) return true;
    if (selection.sender.empty() && selection.recipient.empty()) return false;
    std::erase_if(item.rows, [&](const mailstore::QueuedRecipient& row) {
      const bool sender =
          selection.sender == "<>" ? row.reverse_path.empty() : contains(row.reverse_path, selection.sender);
      return !sender || !contains(row.address, selection.recipient);
    });
    return item.rows.empty();
  });
  for (const auto& item : items) ids.erase(item.id);
  if (!ids.empty())
    fail(fmt::format("there is no badmail {}, so nothing was done; see 'pennypost badmail list'", *ids.begin()));
  std::ranges::sort(items, {}, [](const BadmailItem& item) { return mailstore::parse_id(item.id)->value; });
  return items;
}

void each_piece_of_file(const std::filesystem::path& file, const std::function<void(std::string_view)>& take) {
  const int open = ::open(file.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  struct Close {
    int file;
    ~Close() {
      if (file >= 0) ::close(file);
    }
  } const close{open};
  struct stat about{};
  if (open < 0 || ::fstat(open, &about) != 0)
    fail(
        fmt::format("{} could not be read: {}", file.string(), std::strerror(errno)));  // NOLINT(concurrency-mt-unsafe)
  if (!S_ISREG(about.st_mode)) fail(fmt::format("{} is no plain file, so there is nothing to read", file.string()));
  std::string piece(std::size_t{64} << 10U, '\0');
  for (;;) {
    const auto got = ::read(open, piece.data(), piece.size());
    if (got < 0) fail(fmt::format("{} could not be read whole", file.string()));
    if (got == 0) return;
    take(std::string_view{piece}.substr(0, static_cast<std::size_t>(got)));
  }
}

}  // namespace tools

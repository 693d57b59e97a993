// pennypost badmail: mail that can neither be delivered nor go back, and files that are no mail.

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include <fmt/format.h>

#include "tools/pennypost/await.hpp"
#include "tools/pennypost/badmail_items.hpp"
#include "tools/pennypost/header.hpp"
#include "tools/pennypost/pieces.hpp"
#include "tools/pennypost/program.hpp"
#include "tools/pennypost/queue_select.hpp"
#include "tools/pennypost/queue_words.hpp"

namespace tools {
namespace {

constexpr std::size_t scratch_octets = std::size_t{1} << 20U;
constexpr std::size_t shown_header_octets = std::size_t{64} << 10U;

Cell optional_text(const std::string& text) {
  return text.empty() ? Cell{} : Cell{text};
}

void print_list(Session& session, const std::vector<BadmailItem>& items) {
  List out(session.format(),
           {{"id", "ID"},
            {"cause", "CAUSE"},
            {"recipient", "RECIPIENT", 40},
            {"reverse_path", "SENDER", 30},
            {"octets", "SIZE"},
            {"since", "SINCE"},
            {"server", "SERVER"},
            {"file", "FILE", 40},
            {"why", "WHY", 60},
            {"answer", ""}},
           "no badmail");
  for (const auto& item : items) {
    const auto since = shown_time(mailstore::accepted_at(*mailstore::parse_id(item.id)));
    const std::string cause{name_of(item.cause)};
    if (item.rows.empty())
      out.row({item.id, cause, Cell{}, Cell{}, Octets{item.octets}, since, item.server, item.name, item.why, Cell{}});
    for (const auto& row : item.rows) {
      out.row({item.id, cause, row.address, row.reverse_path, Octets{item.octets}, since, item.server, Cell{}, item.why,
               optional_text(answer_text(row.last.answer))});
    }
  }
  out.end();
}

mailstore::OpenMessage open_message(Session& session, const BadmailItem& item, std::vector<char>& scratch) {
  scratch.resize(scratch_octets);
  return need(session.store().queue().open_message(*mailstore::parse_id(item.id), scratch, 0),
              fmt::format("message {} could not be read", item.id));
}

void show(Session& session, const std::string& id) {
  BadmailSelection selection;
  selection.ids = {id};
  const auto items = find_badmail(session, selection);
  const auto& item = items.front();
  std::vector<std::string> recipients;
  std::string answer;
  for (const auto& row : item.rows) {
    recipients.push_back(row.address);
    if (const auto words = answer_text(row.last.answer); !words.empty()) answer = words;
  }
  Record out(session.format());
  out.field("id", "ID", item.id);
  out.field("cause", "Cause", std::string{name_of(item.cause)});
  out.field("why", "Why", item.why);
  out.field("answer", answer.empty() ? "" : "Last answer", optional_text(answer));
  out.field("since", "Since", shown_time(mailstore::accepted_at(*mailstore::parse_id(item.id))));
  out.field("octets", "Size", Octets{item.octets});
  out.field("server", "Server", item.server);
  out.field("reverse_path", item.rows.empty() ? "" : "Sender",
            item.rows.empty() ? Cell{} : Cell{item.rows.front().reverse_path});
  out.field("recipients", item.rows.empty() ? "" : "Recipients", recipients);
  out.field("file", item.rows.empty() ? "File" : "", optional_text(item.name));
  out.field("path", item.rows.empty() ? "Kept as" : "", optional_text(item.file.string()));
  out.print();
  if (session.format() == Format::json) return;
  std::string header;
  if (item.rows.empty()) {
    struct stat about{};
    if (::lstat(item.file.c_str(), &about) != 0 || !S_ISREG(about.st_mode)) return;
    each_piece_of_file(item.file, [&](std::string_view piece) {
      if (header.size() < shown_header_octets) header += piece.substr(0, shown_header_octets - header.size());
    });
  } else {
    std::vector<char> scratch;
    const auto message = open_message(session, item, scratch);
    each_piece(message, std::min(message.header_octets, message.stored_octets), item.id,
               [&](std::string_view piece) { header += piece; });
  }
  print("\n");
  for (const auto& field : parse_header(header, true)) print(shown(field.name + ": " + field.value) + "\n");
}

void tell(Session& session, std::string_view action, std::size_t items) {
  if (session.format() == Format::json) {
    Record out(Format::json);
    out.field("changed", "", items > 0);
    out.field("action", "", std::string(action));
    out.field("items", "", std::uint64_t{items});
    out.print();
    return;
  }
  print(fmt::format("{} {}\n", counted(items, "item"), action));
}

/// What is to be done with; empty: it was a dry run.
std::vector<BadmailItem> chosen(Session& session, const BadmailSelection& selection) {
  if (selection.ids.empty() && !selection.filters() && !selection.all)
    refuse("say which: ids, a filter such as --cause, or --all");
  auto items = find_badmail(session, selection);
  if (!selection.dry_run) return items;
  print_list(session, items);
  return {};
}

void order(Session& session, const BadmailItem& item, const mailstore::QueueOrder& what) {
  std::vector<mailstore::QueueName> names;
  names.reserve(item.rows.size());
  for (const auto& row : item.rows) names.push_back(row.name);
  need(run_awaitable(session.store().queue().order(std::move(names), what)),
       fmt::format("message {} was not changed, nor what comes behind it", item.id));
}

const common::config::Server& server_of(Session& session, const BadmailItem& item) {
  const auto& servers = session.config().servers;
  const auto found = std::ranges::find(servers, item.server, &common::config::Server::id);
  if (found == servers.end()) fail(fmt::format("there is no virtual server {} any more", item.server));
  return *found;
}

void remove_note(const BadmailItem& item) {
  auto note = item.file;
  std::error_code ignored;
  std::filesystem::remove(note.replace_extension(smtpd::folders::bad_note_suffix), ignored);
}

void put_back(Session& session, const BadmailItem& item) {
  struct stat about{};
  if (::lstat(item.file.c_str(), &about) != 0 || !S_ISREG(about.st_mode))
    fail(fmt::format("{} is no plain file; it cannot become mail", item.file.string()));
  const auto place = server_of(session, item).home / "pickup" / (item.id + ".eml");
  if (::renameat2(AT_FDCWD, item.file.c_str(), AT_FDCWD, place.c_str(), RENAME_NOREPLACE) != 0) {
    fail(fmt::format("{} could not be moved to {}: {}", item.file.string(), place.string(),
                     std::strerror(errno)));  // NOLINT(concurrency-mt-unsafe)
  }
  remove_note(item);
}

void retry(Session& session, const BadmailSelection& selection) {
  const auto items = chosen(session, selection);
  for (const auto& item : items) {
    if (item.rows.empty()) {
      put_back(session, item);
    } else {
      order(session, item, mailstore::ReviveOrder{});
    }
  }
  if (!selection.dry_run) tell(session, "tried again", items.size());
}

void purge(Session& session, const BadmailSelection& selection) {
  const auto items = chosen(session, selection);
  for (const auto& item : items) {
    if (!item.rows.empty()) {
      // Not what somebody has tried again since it was listed.
      order(session, item, mailstore::DeleteOrder{std::string{smtpd::folders::badmail_mark}});
      continue;
    }
    std::error_code error;
    std::filesystem::remove(item.file, error);
    if (error) fail(fmt::format("{} could not be removed: {}", item.file.string(), error.message()));
    remove_note(item);
  }
  if (!selection.dry_run) tell(session, "purged", items.size());
}

/// A new file, in pieces; not over anything that is there.
class NewFile {
 public:
  explicit NewFile(std::string path) : path_(std::move(path)), file_(std::fopen(path_.c_str(), "wxe"), std::fclose) {
    if (!file_)
      fail(fmt::format("{} could not be made: {}", path_, std::strerror(errno)));  // NOLINT(concurrency-mt-unsafe)
  }
  void write(std::string_view text) {
    fine_ = fine_ && std::fwrite(text.data(), 1, text.size(), file_.get()) == text.size();
  }
  void close() {
    if (!fine_ || std::fflush(file_.get()) != 0) fail(fmt::format("{} could not be written whole", path_));
  }

 private:
  std::string path_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  bool fine_ = true;
};

void write_out(Session& session, const BadmailItem& item, const std::string& folder) {
  const auto path = [&](std::string_view suffix) { return fmt::format("{}/{}{}", folder, item.id, suffix); };
  NewFile mail{path(smtpd::folders::bad_file_suffix)};
  if (item.rows.empty()) {
    each_piece_of_file(item.file, [&](std::string_view piece) { mail.write(piece); });
  } else {
    std::vector<char> scratch;
    const auto message = open_message(session, item, scratch);
    each_piece(message, message.stored_octets, item.id, [&](std::string_view piece) { mail.write(piece); });
  }
  mail.close();
  NewFile envelope{path(smtpd::folders::bad_envelope_suffix)};
  const auto line = [](std::string_view name, std::string_view value) {
    return fmt::format("{}: {}\n", name, shown(value));
  };
  envelope.write(line("Id", item.id));
  envelope.write(line("Server", item.server));
  if (!item.rows.empty()) envelope.write(line("Sender", "<" + item.rows.front().reverse_path + ">"));
  for (const auto& row : item.rows) envelope.write(line("Recipient", "<" + row.address + ">"));
  envelope.write(line("Octets", std::to_string(item.octets)));
  envelope.write(line("Since", format_time(shown_time(mailstore::accepted_at(*mailstore::parse_id(item.id))).micros)));
  envelope.close();
  NewFile reason{path(smtpd::folders::bad_note_suffix)};
  reason.write(smtpd::folders::format_badmail_note({item.cause, item.why, item.name, item.server}));
  for (const auto& row : item.rows) {
    const auto words = answer_text(row.last.answer);
    reason.write(line("Answer", fmt::format("{}: {}", row.address, words.empty() ? "none" : words)));
  }
  reason.close();
}

void write_all(Session& session, const BadmailSelection& selection, const std::string& folder) {
  const auto items = chosen(session, selection);
  for (const auto& item : items) write_out(session, item, folder.empty() ? "." : folder);
  if (!selection.dry_run) tell(session, "exported", items.size());
}

/// From the queue, by a person.
void set_aside(Session& session, const std::vector<std::string>& ids, const std::string& reason) {
  const auto why = smtpd::folders::format_badmail_reason(smtpd::folders::BadmailCause::by_event, reason_of(reason));
  QueueSelection selection;
  selection.ids = ids;
  std::vector<mailstore::QueueName> names;
  each_queued(session, selection, [&](const QueueRow& row) { names.push_back(row.recipient.name); });
  const auto held = need(run_awaitable(session.store().queue().order(std::move(names), mailstore::HoldOrder{why})),
                         "nothing was made badmail");
  tell(session, "made badmail", held == 0 ? 0 : ids.size());
}

}  // namespace

void add_badmail_commands(CLI::App& root, Program& program) {
  auto* group =
      add_group(root, "badmail", "Mail that can neither be delivered nor go back, and files that are no mail");
  auto& session = program.session;
  auto listed = std::make_shared<BadmailSelection>();
  add_badmail_filters(add_command(*group, "list", "Lists badmail, with its causes", program,
                                  [&session, listed] { print_list(session, find_badmail(session, *listed)); }),
                      *listed);
  auto id = std::make_shared<std::string>();
  add_argument(add_command(*group, "show", "Shows why it is badmail, and its header", program,
                           [&session, id] { show(session, *id); }),
               "ID", *id, "The message or file")
      ->required();
  const auto add = [&](const char* name, const char* description, auto run) {
    auto selection = std::make_shared<BadmailSelection>();
    add_badmail_selection(
        add_command(*group, name, description, program, [&session, selection, run] { run(session, *selection); }),
        *selection);
  };
  add("retry", "Sends messages once more, puts files back into the pickup folder", retry);
  add("purge", "Removes badmail for ever", purge);
  auto exported = std::make_shared<BadmailSelection>();
  auto folder = std::make_shared<std::string>();
  auto* write = add_command(*group, "export", "Writes badmail into files: ID.BAD, ID.BDP, ID.BDR", program,
                            [&session, exported, folder] { write_all(session, *exported, *folder); });
  add_badmail_selection(write, *exported);
  write->add_option("--output", *folder, "The folder; without: the one you are in")->type_name("DIR");
  auto ids = std::make_shared<std::vector<std::string>>();
  auto reason = std::make_shared<std::string>();
  auto* put = add_command(*group, "add", "Makes messages in the queue badmail", program,
                          [&session, ids, reason] { set_aside(session, *ids, *reason); });
  put->add_option("ID", *ids, "The messages")->type_name("")->required();
  put->add_option("--reason", *reason, "Why; kept and shown")->type_name("TEXT");
}

}  // namespace tools

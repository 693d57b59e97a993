// pennypost message: the mail in a mailbox.

#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>

#include <fmt/format.h>

#include "tools/pennypost/await.hpp"
#include "tools/pennypost/header.hpp"
#include "tools/pennypost/names.hpp"
#include "tools/pennypost/pieces.hpp"
#include "tools/pennypost/program.hpp"

namespace tools {
namespace {

/// Holds the longest envelope there may be (a thousand owners) and the beginning of the message.
constexpr std::size_t scratch_octets = std::size_t{1} << 20U;
constexpr std::size_t listed_header_octets = std::size_t{16} << 10U;

/// When the message arrived: its id begins with the microseconds since 2020.
Time arrival_of(mailstore::MessageId id) {
  constexpr std::uint64_t year_2020 = 1'577'836'800'000'000;
  return Time{year_2020 + (id.value >> 12U)};
}

mailstore::MessageId parse_given_id(const std::string& text) {
  const auto id = mailstore::parse_id(text);
  if (!id)
    refuse(fmt::format(
        "'{}' is not a message id: ids are 13 letters and digits, as 'pennypost message list' shows them", text));
  return *id;
}

struct Maildrop {
  mailstore::MailboxNumber number{};
  std::string address;
};

Maildrop open_maildrop(Session& session, const std::string& text) {
  const auto address = parse_given_address(text);
  return {need_mailbox(*session.directory(), address).number, address.key};
}

void list(Session& session, const std::string& text) {
  const auto maildrop = open_maildrop(session, text);
  auto& store = session.store();
  const auto view =
      need(store.peek(maildrop.number), fmt::format("the mail of {} could not be read", maildrop.address));
  List out(session.format(),
           {{"id", "ID"},
            {"received", "RECEIVED"},
            {"octets", "SIZE"},
            {"reverse_path", ""},
            {"from", "FROM", 40},
            {"subject", "SUBJECT", 60}},
           "no messages");
  std::vector<char> scratch(scratch_octets);
  std::array<mailstore::Entry, 64> page;
  std::optional<mailstore::MessageId> after;
  for (;;) {
    const auto count =
        need(store.list(view, after, page), fmt::format("the mail of {} could not be read", maildrop.address));
    for (std::size_t i = 0; i < count; ++i) {
      const auto& entry = page[i];
      after = entry.id;
      auto opened = store.open_message(maildrop.number, entry, scratch, listed_header_octets);
      if (!opened && opened.error().code == mailstore::Errc::not_found) continue;  // deleted meanwhile
      const auto message =
          need(std::move(opened), fmt::format("message {} could not be read", mailstore::format_id(entry.id)));
      const auto header = message.prefix.substr(0, entry.header_octets);
      const auto fields = parse_header(header, header.size() == entry.header_octets);
      out.row({mailstore::format_id(entry.id), arrival_of(entry.id), Octets{entry.octets},
               message.envelope().reverse_path, field_value(fields, "From"), field_value(fields, "Subject")});
    }
    if (count < page.size()) break;
  }
  out.end();
}

/// For a person: each line escaped. Lines that never end are shown in parts.
class LinePrinter {
 public:
  void append(std::string_view octets) {
    line_.append(octets);
    for (;;) {
      const auto end = line_.find("\r\n");
      if (end == line_.npos) break;
      print(shown(std::string_view(line_).substr(0, end)) + "\n");
      line_.erase(0, end + 2);
    }
    if (line_.size() > longest) flush();
  }
  void flush() {
    if (!line_.empty()) print(shown(line_) + "\n");
    line_.clear();
  }

 private:
  static constexpr std::size_t longest = std::size_t{256} << 10U;
  std::string line_;
};

void print_facts(const mailstore::Entry& entry, const mailstore::OpenMessage& message, const std::string& id) {
  const auto envelope = message.envelope();
  std::string header;
  each_piece(message, std::min(entry.header_octets, message.stored_octets), id,
             [&](std::string_view piece) { header.append(piece); });
  std::string fields = "[";
  for (const auto& field : parse_header(header, true)) {
    fields += fmt::format("{}{{\"name\": {}, \"value\": {}}}", fields.size() == 1 ? "" : ", ", json_text(field.name),
                          json_text(field.value));
  }
  Record out(Format::json);
  out.field("id", "", id);
  out.field("received", "", arrival_of(entry.id));
  out.field("octets", "", Octets{entry.octets});
  out.field("reverse_path", "", envelope.reverse_path);
  out.field("authenticated", "", envelope.authenticated.empty() ? Cell{} : Cell{envelope.authenticated});
  out.field("server", "", envelope.server);
  if (entry.ordinal < envelope.owners.size())
    out.field("delivered_to", "", envelope.owners[entry.ordinal].delivered_to);
  out.json_field("header", fields + "]");
  out.print();
}

void show(Session& session, const std::string& text, const std::string& id_text, bool raw) {
  const auto id = parse_given_id(id_text);
  const auto maildrop = open_maildrop(session, text);
  auto& store = session.store();
  const auto view =
      need(store.peek(maildrop.number), fmt::format("the mail of {} could not be read", maildrop.address));
  const auto entry = need(store.find(view, id), fmt::format("message {} could not be read", id_text));
  if (!entry)
    fail(fmt::format("no message {} in {}; see 'pennypost message list {}'", id_text, maildrop.address,
                     maildrop.address));
  std::vector<char> scratch(scratch_octets);
  const auto message = need(store.open_message(maildrop.number, *entry, scratch, 0),
                            fmt::format("message {} could not be read", id_text));
  if (session.format() == Format::json) {
    print_facts(*entry, message, id_text);
  } else if (raw || isatty(STDOUT_FILENO) != 1) {
    each_piece(message, message.stored_octets, id_text, [](std::string_view piece) { print(piece); });
  } else {
    LinePrinter lines;
    each_piece(message, message.stored_octets, id_text, [&](std::string_view piece) { lines.append(piece); });
    lines.flush();
  }
}

struct DeleteArguments {
  std::string address;
  std::vector<std::string> ids;
  bool if_exists = false;
};

void remove(Session& session, const DeleteArguments& given) {
  std::vector<mailstore::MessageId> ids;
  ids.reserve(given.ids.size());
  for (const auto& text : given.ids) ids.push_back(parse_given_id(text));
  std::ranges::sort(ids);
  ids.erase(std::ranges::unique(ids).begin(), ids.end());

  const auto maildrop = open_maildrop(session, given.address);
  auto& store = session.store();
  const auto lock = need(store.lock_maildrop(maildrop.number), fmt::format("mailbox {} is in use", maildrop.address));
  const auto view = need(store.view(lock), fmt::format("the mail of {} could not be read", maildrop.address));
  for (const auto id : ids) {
    if (given.if_exists) break;
    if (need(store.find(view, id), fmt::format("the mail of {} could not be read", maildrop.address))) continue;
    fail(fmt::format("no message {} in {}, so nothing was deleted; see 'pennypost message list {}', or say --if-exists",
                     mailstore::format_id(id), maildrop.address, maildrop.address));
  }
  const auto result = need(run_awaitable(store.remove(lock, std::move(ids))),
                           fmt::format("no message of {} was deleted", maildrop.address));
  if (session.format() == Format::json) {
    Record out(Format::json);
    out.field("changed", "", result.removed > 0);
    out.field("action", "", std::string("deleted"));
    out.field("mailbox", "", maildrop.address);
    out.field("messages", "", result.removed);
    out.print();
  } else {
    print(shown(fmt::format("{} deleted from {}", counted(result.removed, "message"), maildrop.address)) + "\n");
  }
}

}  // namespace

void add_message_commands(CLI::App& root, Program& program) {
  auto* group = add_group(root, "message", "The mail in a mailbox");
  auto& session = program.session;
  {
    auto address = std::make_shared<std::string>();
    auto* command = add_command(*group, "list", "Lists the messages of a mailbox", program,
                                [&session, address] { list(session, *address); });
    add_argument(command, "ADDRESS", *address, "The mailbox")->required();
  }
  {
    auto address = std::make_shared<std::string>();
    auto id = std::make_shared<std::string>();
    auto raw = std::make_shared<bool>(false);
    auto* command = add_command(*group, "show", "Shows a message: escaped on a terminal, as it is otherwise", program,
                                [&session, address, id, raw] { show(session, *address, *id, *raw); });
    add_argument(command, "ADDRESS", *address, "The mailbox")->required();
    add_argument(command, "ID", *id, "The message")->required();
    command->add_flag("--raw", *raw, "As it is, on a terminal too");
  }
  auto given = std::make_shared<DeleteArguments>();
  auto* command = add_command(*group, "delete", "Deletes messages from a mailbox, all that are named or none", program,
                              [&session, given] { remove(session, *given); });
  add_argument(command, "ADDRESS", given->address, "The mailbox")->required();
  command->add_option("ID", given->ids, "The messages")->required()->type_name("");
  command->add_flag("--if-exists", given->if_exists, "Fine if some are not there");
}

}  // namespace tools

// pennypost queue: mail that leaves. This file has the commands that look; queue_orders.cpp those that change.

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <memory>

#include <fmt/format.h>

#include "tools/pennypost/names.hpp"
#include "tools/pennypost/pieces.hpp"
#include "tools/pennypost/program.hpp"
#include "tools/pennypost/queue_orders.hpp"
#include "tools/pennypost/queue_select.hpp"
#include "tools/pennypost/queue_words.hpp"

namespace tools {
namespace {

constexpr std::size_t scratch_octets = std::size_t{1} << 20U;
constexpr std::size_t page_rows = 200;
constexpr const char* trouble = "the queue could not be read";

bool contains(std::string_view text, std::string_view part) {
  const auto lower = [](char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
  };
  return part.empty() || !std::ranges::search(text, part, {}, lower, lower).empty();
}

/// What left the queue, that fits.
template <class Each>
void each_done(Session& session, const QueueSelection& selection, Each each) {
  const auto domain = selection.domain.empty() ? std::string() : parse_given_domain(selection.domain);
  auto queue = session.store().queue();
  mailstore::DonePlace after;
  for (bool more = true; more;) {
    const auto page = need(queue.done(after, page_rows), trouble);
    for (const auto& one : page.recipients) {
      const bool failed = one.outcome == mailstore::QueueOutcome::failed;
      if (failed != (selection.state == "failed")) continue;
      if (!domain.empty() && one.name.domain != domain) continue;
      if (selection.sender == "<>" ? !one.reverse_path.empty() : !contains(one.reverse_path, selection.sender))
        continue;
      if (!contains(one.address, selection.recipient) || !contains(one.last.answer.text, selection.error)) continue;
      each(one);
    }
    after = page.last;
    more = page.more;
  }
}

void list_done(Session& session, const QueueSelection& selection) {
  if (!selection.older.empty() || !selection.newer.empty())
    refuse("--older and --newer are for what is in the queue; what left it is listed in the order in which it left");
  List out(session.format(),
           {{"id", "ID"},
            {"recipient", "RECIPIENT", 40},
            {"reverse_path", "SENDER", 30},
            {"accepted", ""},
            {"left", "LEFT"},
            {"outcome", "OUTCOME"},
            {"attempts", ""},
            {"peer", "PEER", 40},
            {"tls", ""},
            {"answer", "LAST ANSWER", 60},
            {"successor", ""},
            {"server", ""}},
           "nothing left the queue lately");
  each_done(session, selection, [&](const mailstore::DoneRecipient& one) {
    out.row({mailstore::format_id(one.name.id), one.address, one.reverse_path,
             shown_time(mailstore::accepted_at(one.name.id)), shown_time(one.at),
             std::string(outcome_text(one.outcome)), std::uint64_t{one.attempts}, one.last.peer, one.last.tls,
             answer_text(one.last.answer),
             one.successor.value == 0 ? Cell{} : Cell{mailstore::format_id(one.successor)}, one.server});
  });
  out.end();
}

void list(Session& session, const QueueSelection& selection) {
  constexpr std::string_view states[] = {"", "waiting", "active", "held", "done", "failed"};
  if (std::ranges::find(states, selection.state) == std::end(states)) {
    refuse(fmt::format("--state {}: no such state; there are: waiting, active, held, done, failed", selection.state));
  }
  if (selection.state == "done" || selection.state == "failed") return list_done(session, selection);
  QueueList out(session.format());
  each_queued(session, selection, [&](const QueueRow& row) { out.row(row); });
  out.end();
}

std::vector<mailstore::DoneRecipient> done_of(Session& session, mailstore::MessageId id) {
  auto queue = session.store().queue();
  std::vector<mailstore::DoneRecipient> all;
  mailstore::DonePlace after;
  for (bool more = true; more;) {
    auto page = need(queue.done(after, page_rows, id), trouble);
    std::ranges::move(page.recipients, std::back_inserter(all));
    after = page.last;
    more = page.more;
  }
  return all;
}

Cell optional_text(const std::string& text) {
  return text.empty() ? Cell{} : Cell{text};
}

void why_one(List& out, const QueueRow& row, const Why& why) {
  const auto& one = row.recipient;
  const auto& last = last_attempt(one, row.domain);
  Cell next;
  if (why.next) next = shown_time(*why.next);
  out.row({one.address, std::string(why.state), why.cause, why.rule, next, optional_text(why.remedy),
           std::uint64_t{one.attempts}, std::uint64_t{row.domain.failed_rounds},
           last.at == mailstore::no_time ? Cell{} : Cell{shown_time(last.at)}, optional_text(last.peer),
           optional_text(answer_text(last.answer)), optional_text(last.tls), optional_text(one.reroute),
           optional_text(one.delay_noticed ? "sent" : "")});
}

/// For people one paragraph a recipient: lines would be far too long.
void why_text(const QueueRow& row, const Why& why) {
  const auto& one = row.recipient;
  const auto& last = last_attempt(one, row.domain);
  std::string text = fmt::format("{}: {}: {}\n", one.address, why.state, why.cause);
  const auto line = [&](std::string_view title, const std::string& value) {
    if (!value.empty()) text += fmt::format("  {}: {}\n", title, value);
  };
  line("last answer", answer_text(last.answer));
  line("from", last.peer);
  line("TLS", last.tls);
  if (last.at != mailstore::no_time) line("at", format_time(shown_time(last.at).micros));
  line("rule", why.rule);
  if (why.next) {
    line("tried next", *why.next <= now() ? "now" : format_time(shown_time(*why.next).micros));
  } else {
    line("tried next", fmt::format("not before '{}'", why.remedy));
  }
  line("by way of", one.reroute);
  if (one.delay_noticed) line("delay notice", "sent");
  std::string safe;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = text.find('\n', at);
    safe += shown(std::string_view(text).substr(at, end - at)) + "\n";
    at = end + 1;
  }
  print(safe);
}

void why(Session& session, const std::string& text) {
  const auto id = parse_queue_id(text);
  auto queue = session.store().queue();
  const auto waiting = need(queue.recipients(id), trouble);
  const auto left = done_of(session, id);
  if (waiting.empty() && left.empty())
    fail(fmt::format("no message {} is in the queue, nor has one left it as long as [store] keep_done tells", text));
  const auto status = need(queue.status(), trouble);
  const bool json = session.format() == Format::json;
  List out(Format::json,
           {{"recipient", ""},
            {"state", ""},
            {"cause", ""},
            {"rule", ""},
            {"next", ""},
            {"remedy", ""},
            {"attempts", ""},
            {"domain_failures", ""},
            {"last", ""},
            {"peer", ""},
            {"answer", ""},
            {"tls", ""},
            {"reroute", ""},
            {"delay_notice", ""}},
           "");
  for (const auto& one : waiting) {
    const auto domain = need(queue.domain(one.name.domain), trouble);
    const QueueRow row{
        .recipient = one, .domain = domain.value_or(mailstore::QueueDomain{.name = one.name.domain}), .state = {}};
    const auto remote = remote_settings(session, one.name.domain);
    const auto why = explain(one, row.domain, status, remote ? &*remote : nullptr, now());
    json ? why_one(out, row, why) : why_text(row, why);
  }
  for (const auto& one : left) {
    const auto outcome = std::string(outcome_text(one.outcome));
    const bool failed = one.outcome == mailstore::QueueOutcome::failed;
    if (json) {
      out.row({one.address, std::string(failed ? "failed" : "done"), outcome, Cell{}, Cell{}, Cell{},
               std::uint64_t{one.attempts}, Cell{}, shown_time(one.at), optional_text(one.last.peer),
               optional_text(answer_text(one.last.answer)), optional_text(one.last.tls), Cell{}, Cell{}});
      continue;
    }
    std::string line = fmt::format("{}: {} at {}", one.address, outcome, format_time(shown_time(one.at).micros));
    if (!one.last.peer.empty()) line += fmt::format(", {}", one.last.peer);
    if (const auto answer = answer_text(one.last.answer); !answer.empty()) line += fmt::format(": {}", answer);
    if (one.successor.value != 0) line += fmt::format("; see {}", mailstore::format_id(one.successor));
    print(shown(line) + "\n");
  }
  if (json) out.end();
}

mailstore::OpenMessage open_queued(Session& session, const std::string& text, std::vector<char>& scratch) {
  auto queue = session.store().queue();
  const auto id = parse_queue_id(text);
  if (need(queue.recipients(id), trouble).empty())
    fail(fmt::format("no message {} is in the queue; 'pennypost queue why {}' tells whether it left", text, text));
  return need(queue.open_message(id, scratch, 0), fmt::format("message {} could not be read", text));
}

void show(Session& session, const std::string& text) {
  std::vector<char> scratch(scratch_octets);
  const auto message = open_queued(session, text, scratch);
  const auto id = parse_queue_id(text);
  const auto envelope = message.envelope();
  std::string header;
  each_piece(message, std::min(message.header_octets, message.stored_octets), text,
             [&](std::string_view piece) { header.append(piece); });
  std::vector<std::string> here;
  for (const auto& one : need(session.store().queue().recipients(id), trouble)) here.push_back(one.address);
  constexpr const char* returns[] = {"", "FULL", "HDRS"};
  Record out(session.format());
  out.field("id", "ID", text);
  out.field("accepted", "Accepted", shown_time(mailstore::accepted_at(id)));
  out.field("octets", "Size", Octets{message.octets});
  out.field("reverse_path", "Sender", envelope.reverse_path);
  out.field("authenticated", "Authenticated", optional_text(envelope.authenticated));
  out.field("server", "Server", envelope.server);
  out.field("envelope_id", "ENVID", optional_text(envelope.envelope_id));
  out.field("return_content", "RET", optional_text(returns[std::min<std::size_t>(envelope.return_content, 2)]));
  out.field("eight_bit", "8BITMIME", envelope.eight_bit);
  out.field("utf8", "SMTPUTF8", envelope.utf8);
  out.field("in_queue", "In the queue", here);
  if (session.format() == Format::json) {
    std::string remotes = "[";
    for (const auto& remote : envelope.remotes) {
      Record one(Format::json);
      one.field("recipient", "", remote.address);
      one.field("original_recipient", "", optional_text(remote.original_recipient));
      one.field("notify", "", std::uint64_t{remote.notify});
      remotes += (remotes.size() == 1 ? "" : ", ") + one.json();
    }
    out.json_field("remotes", remotes + "]");
    std::string fields = "[";
    for (const auto& field : parse_header(header, true)) {
      fields += fmt::format("{}{{\"name\": {}, \"value\": {}}}", fields.size() == 1 ? "" : ", ", json_text(field.name),
                            json_text(field.value));
    }
    out.json_field("header", fields + "]");
    out.print();
    return;
  }
  out.print();
  print("\n");
  for (const auto& field : parse_header(header, true)) print(shown(field.name + ": " + field.value) + "\n");
}

void write_out(Session& session, const std::string& text, const std::string& path) {
  std::vector<char> scratch(scratch_octets);
  const auto message = open_queued(session, text, scratch);
  if (path.empty()) {
    each_piece(message, message.stored_octets, text, [](std::string_view piece) { print(piece); });
    return;
  }
  // Not over anything that is there.
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "wxe"), std::fclose);
  if (!file)
    fail(fmt::format("{} could not be made: {}", path, std::strerror(errno)));  // NOLINT(concurrency-mt-unsafe)
  bool written = true;
  each_piece(message, message.stored_octets, text, [&](std::string_view piece) {
    written = written && std::fwrite(piece.data(), 1, piece.size(), file.get()) == piece.size();
  });
  if (!written || std::fflush(file.get()) != 0) fail(fmt::format("{} could not be written whole", path));
  session.report()(true, "exported", "file", path, fmt::format("message {} is in {}", text, path));
}

void stat(Session& session) {
  auto queue = session.store().queue();
  const auto stat = need(queue.stat(), trouble);
  const auto status = need(queue.status(), trouble);
  Record out(session.format());
  out.field("waiting", "Waiting", stat.waiting);
  out.field("held", "Held", stat.held);
  out.field("domains", "Domains", stat.domains);
  out.field("failing", "Domains that fail", stat.failing);
  out.field("suspended", "Domains suspended", stat.suspended);
  out.field("due_alone", "With own due times", stat.due_alone);
  out.field("oldest", "Oldest", stat.oldest == mailstore::no_time ? Cell{} : Cell{shown_time(stat.oldest)});
  out.field("done", "Record of what left", stat.done);
  out.field("all_held", "All held", status.held);
  out.field("all_held_reason", "Because", optional_text(status.reason));
  out.print();
}

}  // namespace

void add_queue_commands(CLI::App& root, Program& program) {
  auto* group = add_group(root, "queue", "Mail that leaves: what waits, why, and what to do with it");
  auto& session = program.session;
  auto selection = std::make_shared<QueueSelection>();
  auto* command = add_command(*group, "list", "Lists the recipients in the queue, or those that left it", program,
                              [&session, selection] { list(session, *selection); });
  add_queue_filters(command, *selection);
  const auto add = [&](const char* name, const char* description, auto run) {
    auto id = std::make_shared<std::string>();
    auto* made = add_command(*group, name, description, program, [&session, id, run] { run(session, *id); });
    add_argument(made, "ID", *id, "The message")->required();
  };
  add("why", "Says of each recipient of a message why it waits and what comes next", why);
  add("show", "Shows the envelope and the header of a message", show);
  auto id = std::make_shared<std::string>();
  auto path = std::make_shared<std::string>();
  auto* write = add_command(*group, "export", "Writes a message octet for octet", program,
                            [&session, id, path] { write_out(session, *id, *path); });
  add_argument(write, "ID", *id, "The message")->required();
  write->add_option("--output", *path, "A new file; without: standard output")->type_name("FILE");
  add_command(*group, "stat", "Counts the queue", program, [&session] { stat(session); });
  add_queue_orders(*group, program);
  add_queue_etrn(*group, program);
}

}  // namespace tools

#include "tools/pennypost/queue_select.hpp"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "common/config/values.hpp"
#include "smtpd/routing/resolver.hpp"
#include "tools/pennypost/names.hpp"
#include "tools/pennypost/queue_words.hpp"

namespace tools {
namespace {

constexpr std::size_t page_rows = 200;

mailstore::Time ago(std::string_view option, const std::string& text) {
  if (text.empty()) return mailstore::no_time;
  const auto time = common::config::parse_time(text);
  if (!time) refuse(fmt::format("{} {}: {}", option, text, time.error()));
  return now() - *time;
}

mailstore::QueueFilter filter_of(const QueueSelection& selection) {
  mailstore::QueueFilter filter;
  if (!selection.domain.empty()) filter.domain = parse_given_domain(selection.domain);
  filter.sender = selection.sender;
  filter.recipient = selection.recipient;
  filter.error = selection.error;
  filter.older = ago("--older", selection.older);
  filter.newer = ago("--newer", selection.newer);
  constexpr std::string_view states[] = {"", "waiting", "active", "held"};
  if (std::ranges::find(states, selection.state) == std::end(states))
    refuse(fmt::format("--state {}: no such state here; there are: waiting, active, held", selection.state));
  return filter;
}

}  // namespace

bool QueueSelection::filters() const {
  return !(domain.empty() && sender.empty() && recipient.empty() && state.empty() && older.empty() && newer.empty() &&
           error.empty());
}

void add_queue_filters(CLI::App* command, QueueSelection& selection) {
  const auto option = [&](const char* name, std::string& value, const char* type, const char* description) {
    command->add_option(name, value, description)->type_name(type);
  };
  option("--domain", selection.domain, "D", "Recipients in this domain");
  option("--state", selection.state, "S", "In this state");
  option("--sender", selection.sender, "TEXT", "With this in the reverse-path; <>: the null one");
  option("--recipient", selection.recipient, "TEXT", "With this in the address");
  option("--older", selection.older, "TIME", "Accepted longer ago, such as 2h");
  option("--newer", selection.newer, "TIME", "Accepted since");
  option("--error", selection.error, "TEXT", "With this in the last answer");
}

void add_queue_selection(CLI::App* command, QueueSelection& selection) {
  command->add_option("ID", selection.ids, "The messages")->type_name("");
  add_queue_filters(command, selection);
  command->add_flag("--all", selection.all, "Everything in the queue");
  command->add_flag("--dry-run", selection.dry_run, "Lists what would be changed, and changes nothing");
}

mailstore::MessageId parse_queue_id(const std::string& text) {
  const auto id = mailstore::parse_id(text);
  if (!id)
    refuse(fmt::format("'{}' is not a message id: ids are 13 letters and digits, as 'pennypost queue list' shows them",
                       text));
  return *id;
}

mailstore::Time now() {
  return std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
}

std::string reason_of(const std::string& text) {
  std::string who = "uid " + std::to_string(getuid());
  const auto* const entry = getpwuid(getuid());  // NOLINT(concurrency-mt-unsafe): one thread so far
  if (entry != nullptr) who = entry->pw_name;
  return text.empty() ? who : fmt::format("{}: {}", who, text);
}

std::optional<mailstore::RemoteSettings> remote_settings(Session& session, const std::string& domain) {
  auto found = need(smtpd::routing::find_remote_domain(*session.directory(), domain),
                    fmt::format("domain {} could not be read", domain));
  if (!found) return std::nullopt;
  return std::move(found->remote);
}

void each_queued(Session& session, const QueueSelection& selection, const std::function<void(const QueueRow&)>& each) {
  const auto filter = filter_of(selection);
  std::vector<mailstore::MessageId> ids;
  ids.reserve(selection.ids.size());
  for (const auto& text : selection.ids) ids.push_back(parse_queue_id(text));
  std::ranges::sort(ids);
  ids.erase(std::ranges::unique(ids).begin(), ids.end());
  auto queue = session.store().queue();
  constexpr const char* trouble = "the queue could not be read";
  const auto status = need(queue.status(), trouble);
  const auto at = now();
  std::optional<mailstore::QueueDomain> domain;
  std::optional<mailstore::RemoteSettings> remote;
  const auto tell = [&](mailstore::QueuedRecipient&& recipient) {
    if (!domain || domain->name != recipient.name.domain) {
      domain = need(queue.domain(recipient.name.domain), trouble)
                   .value_or(mailstore::QueueDomain{.name = recipient.name.domain});
      remote = remote_settings(session, domain->name);
    }
    const auto state = state_of(recipient, *domain, status, remote ? &*remote : nullptr, at);
    if (!selection.state.empty() && selection.state != state) return;
    each({.recipient = std::move(recipient), .domain = *domain, .state = state});
  };
  if (!ids.empty()) {
    if (selection.filters() || selection.all) refuse("say which messages, or a filter, not both");
    std::vector<mailstore::QueuedRecipient> found;
    for (const auto id : ids) {
      auto some = need(queue.recipients(id), trouble);
      if (some.empty()) {
        const auto text = mailstore::format_id(id);
        fail(
            fmt::format("no message {} is in the queue, so nothing was changed; 'pennypost queue why {}' tells whether "
                        "it left",
                        text, text));
      }
      std::ranges::move(some, std::back_inserter(found));
    }
    for (auto& one : found) tell(std::move(one));
    return;
  }
  std::optional<mailstore::QueuePlace> after;
  for (bool more = true; more;) {
    auto page = need(queue.list(filter, after, page_rows), trouble);
    for (auto& one : page.recipients) tell(std::move(one));
    after = page.last;
    more = page.more;
  }
}

QueueList::QueueList(Format format)
    : list_(format,
            {{"id", "ID"},
             {"recipient", "RECIPIENT", 40},
             {"reverse_path", "SENDER", 30},
             {"octets", "SIZE"},
             {"accepted", "ACCEPTED"},
             {"state", "STATE"},
             {"next", "NEXT TRY"},
             {"attempts", ""},
             {"domain_failures", ""},
             {"peer", ""},
             {"answer", "LAST ANSWER", 60},
             {"reroute", ""},
             {"reason", ""},
             {"ordinal", ""},
             {"domain", ""},
             {"server", ""}},
            "nothing in the queue") {}

void QueueList::row(const QueueRow& row) {
  const auto& one = row.recipient;
  const auto& last = last_attempt(one, row.domain);
  Cell next;
  const auto due = one.due == mailstore::no_time ? row.domain.next_round : one.due;
  if (row.state == "waiting") next = shown_time(due);
  if (row.state == "active") next = std::string("now");
  list_.row({mailstore::format_id(one.name.id), one.address, one.reverse_path, Octets{one.octets},
             shown_time(mailstore::accepted_at(one.name.id)), std::string(row.state), next, std::uint64_t{one.attempts},
             std::uint64_t{row.domain.failed_rounds}, last.peer, answer_text(last.answer),
             one.reroute.empty() ? Cell{} : Cell{one.reroute}, one.reason.empty() ? Cell{} : Cell{one.reason},
             std::uint64_t{one.name.ordinal}, one.name.domain, one.server});
}

}  // namespace tools

// pennypost queue hold, release, retry, delete, bounce, reroute, flush, suspend, resume: what people say about mail
// that leaves. All of it is said to the store, so it works with the daemons down; a running smtpd learns of it within a
// second.
#include "tools/pennypost/queue_orders.hpp"

#include <memory>

#include <fmt/format.h>

#include "tools/pennypost/await.hpp"
#include "tools/pennypost/names.hpp"
#include "tools/pennypost/queue_select.hpp"

namespace tools {
namespace {

struct OrderArguments {
  QueueSelection selection;
  std::string reason, to;
};

/// Names gathered until they are worth a call.
constexpr std::size_t names_at_once = 3000;

void tell(Session& session, std::string_view action, std::uint64_t recipients) {
  if (session.format() == Format::json) {
    Record out(Format::json);
    out.field("changed", "", recipients > 0);
    out.field("action", "", std::string(action));
    out.field("recipients", "", recipients);
    out.print();
    return;
  }
  print(fmt::format("{} {}\n", counted(recipients, "recipient"), action));
}

void need_selection(const QueueSelection& selection) {
  if (selection.ids.empty() && !selection.filters() && !selection.all)
    refuse("say which: message ids, a filter such as --domain, or --all");
  if (selection.all && selection.filters()) refuse("say a filter or --all, not both");
}

void order(Session& session, const QueueSelection& selection, const mailstore::QueueOrder& what,
           std::string_view action) {
  need_selection(selection);
  if (selection.dry_run) {
    QueueList list(session.format());
    each_queued(session, selection, [&](const QueueRow& row) { list.row(row); });
    list.end();
    return;
  }
  auto queue = session.store().queue();
  std::uint64_t changed = 0;
  std::vector<mailstore::QueueName> names;
  const auto send = [&] {
    changed += need(run_awaitable(queue.order(std::move(names), what)),
                    fmt::format("{} {}, the rest not", counted(changed, "recipient"), action));
    names.clear();
  };
  each_queued(session, selection, [&](const QueueRow& row) {
    names.push_back(row.recipient.name);
    if (names.size() >= names_at_once) send();
  });
  if (!names.empty()) send();
  tell(session, action, changed);
}

void retry(Session& session, const QueueSelection& selection) {
  // One row instead of one for each that waits.
  const bool whole_domain = !selection.domain.empty() && selection.sender.empty() && selection.recipient.empty() &&
                            selection.state.empty() && selection.older.empty() && selection.newer.empty() &&
                            selection.error.empty();
  if (selection.dry_run || !selection.ids.empty() || selection.all || !whole_domain)
    return order(session, selection, mailstore::RetryOrder{}, "due now");
  const auto name = parse_given_domain(selection.domain);
  auto queue = session.store().queue();
  const auto domain = need(queue.domain(name), "the queue could not be read");
  if (domain && domain->waiting > 0) need(run_awaitable(queue.flush(name)), fmt::format("{} was not flushed", name));
  tell(session, "due now", domain ? domain->waiting : 0);
}

void flush(Session& session, const std::string& given) {
  const auto name = given.empty() ? std::string() : parse_given_domain(given);
  auto queue = session.store().queue();
  const auto what = name.empty() ? std::string("the queue") : name;
  need(run_awaitable(queue.flush(name)), fmt::format("{} was not flushed", what));
  session.report()(true, "flushed", "domain", name, fmt::format("{}: all that waits is due now", what));
}

struct DomainArguments {
  std::string domain, reason;
  bool all = false;
};

void check(const DomainArguments& given) {
  if (given.all && !given.domain.empty()) refuse("say a domain or --all, not both");
  if (!given.all && given.domain.empty()) refuse("say which domain, or --all");
}

void suspend(Session& session, const DomainArguments& given) {
  check(given);
  const auto reason = reason_of(given.reason);
  if (given.all) {
    auto queue = session.store().queue();
    need(run_awaitable(queue.hold_all(reason)), "the queue was not held");
    session.report()(true, "suspended", "domain", "",
                     "the whole queue is held: nothing leaves until 'queue resume --all'");
    return;
  }
  const auto name = parse_given_domain(given.domain);
  auto queue = session.store().queue();
  need(run_awaitable(queue.suspend(name, reason)), fmt::format("{} was not suspended", name));
  session.report()(true, "suspended", "domain", name, fmt::format("{} is suspended: nothing is sent there", name));
}

void resume(Session& session, const DomainArguments& given) {
  check(given);
  if (given.all) {
    auto queue = session.store().queue();
    const bool held = need(queue.status(), "the queue could not be read").held;
    if (held) need(run_awaitable(queue.release_all()), "the queue is still held");
    session.report()(held, "resumed", "domain", "", held ? "the queue goes on" : "the queue was not held");
    return;
  }
  const auto name = parse_given_domain(given.domain);
  auto queue = session.store().queue();
  need(run_awaitable(queue.resume(name)), "nothing was changed");
  session.report()(true, "resumed", "domain", name, fmt::format("{} is served again", name));
}

void reroute(Session& session, const OrderArguments& given) {
  if (given.to.size() > 262 || given.to.find_first_of(" \t\r\n") != std::string::npos)
    refuse(fmt::format("--to {}: write HOST, HOST:PORT, [ADDRESS] or [ADDRESS]:PORT", given.to));
  order(session, given.selection, mailstore::RerouteOrder{given.to}, given.to.empty() ? "routed as usual" : "rerouted");
}

}  // namespace

void add_queue_orders(CLI::App& group, Program& program) {
  auto& session = program.session;
  const auto add = [&](const char* name, const char* description, auto run) {
    auto given = std::make_shared<OrderArguments>();
    auto* command = add_command(group, name, description, program, [&session, given, run] { run(session, *given); });
    add_queue_selection(command, given->selection);
    return std::pair(command, given);
  };
  const auto add_reason = [](CLI::App* command, std::string& reason) {
    command->add_option("--reason", reason, "Why; kept and shown")->type_name("TEXT");
  };
  const auto hold = add("hold", "Keeps recipients in the queue until they are released",
                        [](Session& in, const OrderArguments& given) {
                          order(in, given.selection, mailstore::HoldOrder{reason_of(given.reason)}, "held");
                        });
  add_reason(hold.first, hold.second->reason);
  add("release", "Lets held recipients go on", [](Session& in, const OrderArguments& given) {
    order(in, given.selection, mailstore::ReleaseOrder{}, "released");
  });
  add("retry", "Makes recipients due now",
      [](Session& in, const OrderArguments& given) { retry(in, given.selection); });
  add("delete", "Takes recipients out of the queue, without a report", [](Session& in, const OrderArguments& given) {
    order(in, given.selection, mailstore::DeleteOrder{}, "deleted");
  });
  const auto bounce =
      add("bounce", "Takes recipients out of the queue, with a failure report that smtpd sends",
          [](Session& in, const OrderArguments& given) {
            order(in, given.selection, mailstore::BounceOrder{reason_of(given.reason)}, "to be bounced");
          });
  add_reason(bounce.first, bounce.second->reason);
  const auto other = add("reroute", "Sends recipients by another host than routing says", reroute);
  other.first->add_option("--to", other.second->to, "The host; empty: as routing says")
      ->type_name("HOST[:PORT]")
      ->required();

  auto flushed = std::make_shared<std::string>();
  auto* command = add_command(group, "flush", "Makes all that waits due now, of a domain or of all", program,
                              [&session, flushed] { flush(session, *flushed); });
  add_argument(command, "DOMAIN", *flushed, "The domain; without: all");

  const auto add_domain_order = [&](const char* name, const char* description, auto run) {
    auto given = std::make_shared<DomainArguments>();
    auto* made = add_command(group, name, description, program, [&session, given, run] { run(session, *given); });
    add_argument(made, "DOMAIN", given->domain, "The domain");
    made->add_flag("--all", given->all, "The whole queue");
    return std::pair(made, given);
  };
  const auto suspended =
      add_domain_order("suspend", "Sends nothing to a domain, or to any, until it is resumed", suspend);
  add_reason(suspended.first, suspended.second->reason);
  add_domain_order("resume", "Sends to a suspended domain again, or to all", resume);
}

}  // namespace tools

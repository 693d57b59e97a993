#include "smtpd/report/auto_replier.hpp"

#include <algorithm>
#include <optional>
#include <ranges>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "common/address.hpp"
#include "common/log.hpp"

#include "smtpd/report/recipient.hpp"

namespace smtpd::report {
namespace {

namespace log = common::log;

/// RFC 3834 2: no more than one in some days to the same sender.
constexpr std::chrono::days between_replies{7};

/// Of To and Cc, who may be ours under another address: each costs a walk through aliases.
constexpr std::size_t most_walks = 20;

/// The addresses in domains of ours, each once.
mailstore::Result<std::vector<std::string>> find_ours(mailstore::DirectoryView& directory,
                                                      const std::vector<std::string>& addresses) {
  std::vector<std::string> ours;
  std::unordered_map<std::string, bool> domains;
  std::unordered_set<std::string_view> met;
  for (const auto& address : addresses) {
    if (!met.insert(address).second) continue;
    const auto [known, fresh] = domains.try_emplace(address.substr(address.rfind('@') + 1), false);
    if (fresh) {
      const auto domain = directory.domain(known->first);
      if (!domain) return std::unexpected(domain.error());
      known->second = *domain && (*domain)->kind != mailstore::DomainKind::remote;
    }
    if (known->second) ours.push_back(address);
  }
  return ours;
}

/// Whether mail to `address` is this mailbox's alone: its own address, its plus form, an alias that is its own. A
/// group that it belongs to is somebody else.
mailstore::Result<bool> is_own_address(mailstore::DirectoryView& directory, const std::string& address,
                                       const routing::Responder& responder, const std::string& default_domain) {
  const auto parsed = common::parse_address(address);
  if (!parsed) return false;
  const auto found = routing::resolve(directory, *parsed, default_domain, routing::Relay::denied);
  if (!found) return std::unexpected(found.error());
  const bool everything = found->outcome == routing::Outcome::found && found->responders.size() == 1 &&
                          found->responders.front().mailbox == responder.mailbox;
  const bool others = std::ranges::any_of(
      found->remotes, [&](const routing::Onward& onward) { return onward.by != responder.address; });
  if (!everything || others || found->targets.size() > 1) return false;
  // A catch-all is not an address of its own.
  return routing::is_address_of(directory, *parsed, responder.mailbox, default_domain);
}

/// Whether one of `addresses`, which are ours, is the mailbox's.
mailstore::Result<bool> is_addressed(mailstore::DirectoryView& directory, const std::vector<std::string>& addresses,
                                     const routing::Responder& responder, const std::string& default_domain) {
  if (std::ranges::find(addresses, responder.address) != addresses.end()) return true;
  for (const auto& address : addresses | std::views::take(most_walks)) {
    const auto own = is_own_address(directory, address, responder, default_domain);
    if (!own || *own) return own;
  }
  return false;
}

}  // namespace

/// An answer that is to be written.
struct AutoReplier::Plan {
  mailstore::AutoReply reply;
  mailstore::Envelope to;
  std::string key;  ///< of the sender, by which it is remembered
};

mailstore::Result<std::optional<AutoReplier::Plan>> AutoReplier::plan(const Occasion& occasion,
                                                                      const routing::Responder& responder,
                                                                      const Asking& asking) {
  const auto directory = store_.directory();
  auto reply = directory->auto_reply(responder.mailbox);
  if (!reply) return std::unexpected(std::move(reply.error()));
  const auto sender = common::parse_address(occasion.reverse_path);
  if (!*reply || !sender) return std::nullopt;
  const auto now = std::chrono::floor<std::chrono::seconds>(clock_.wall());
  // What costs nothing is asked first.
  auto why = check_auto_reply(**reply, occasion.reverse_path, asking, true, now);
  if (!why) {
    const auto addressed = is_addressed(*directory, asking.to, responder, reporting_.default_domain);
    if (!addressed) return std::unexpected(addressed.error());
    why = check_auto_reply(**reply, occasion.reverse_path, asking, *addressed, now);
  }
  if (why) {
    log::debug(
        "auto_reply.withheld",
        {{"id", occasion.id}, {"from", responder.address}, {"to", occasion.reverse_path}, {"why", name_of(*why)}});
    return std::nullopt;
  }
  Plan plan;
  plan.reply = std::move(**reply);
  plan.key = common::canonical_key(*sender);
  plan.to.server = reporting_.server;
  const routing::Returns returns{*reporting_.srs, std::chrono::floor<std::chrono::days>(now)};
  const auto added = add_recipient(*directory, occasion.reverse_path, reporting_.default_domain, returns, plan.to);
  if (!added) return std::unexpected(added.error());
  // Nobody tells himself that he is away.
  std::erase_if(plan.to.owners, [&](const mailstore::Owner& owner) { return owner.mailbox == responder.mailbox; });
  if (!*added || (plan.to.owners.empty() && plan.to.remotes.empty())) return std::nullopt;
  return plan;
}

asio::awaitable<void> AutoReplier::answer(const Occasion& occasion) {
  auto asking = read_asking(occasion.header);
  {
    const auto directory = store_.directory();
    auto ours = find_ours(*directory, asking.to);
    if (!ours) {
      log::warning("auto_reply.failed", {{"id", occasion.id}, {"why", ours.error().detail}});
      co_return;
    }
    asking.to = std::move(*ours);
  }
  for (const auto& responder : occasion.responders) {
    auto sending = send(occasion, responder, asking);
    const auto sent = co_await std::move(sending);
    if (!sent)
      log::warning("auto_reply.failed",
                   {{"id", occasion.id}, {"from", responder.address}, {"why", sent.error().detail}});
  }
}

asio::awaitable<mailstore::Result<void>> AutoReplier::send(const Occasion& occasion,
                                                           const routing::Responder& responder, const Asking& asking) {
  auto planned = plan(occasion, responder, asking);
  if (!planned) co_return std::unexpected(std::move(planned.error()));
  if (!*planned) co_return mailstore::Result<void>{};
  auto& wanted = **planned;
  // Noted first: whoever dies in between owes one answer, not two.
  auto noting = store_.note_answered(responder.mailbox, wanted.key, common::unix_microseconds(clock_), between_replies);
  const auto noted = co_await std::move(noting);
  if (!noted) co_return std::unexpected(noted.error());
  if (!*noted) co_return mailstore::Result<void>{};
  auto beginning = store_.begin();
  auto draft = co_await std::move(beginning);
  if (!draft) co_return std::unexpected(std::move(draft.error()));
  Letter letter;
  letter.id = mailstore::format_id(draft->id());
  letter.hostname = reporting_.hostname;
  letter.from = responder.address;
  letter.to = occasion.reverse_path;
  letter.time = std::chrono::floor<std::chrono::seconds>(clock_.wall());
  const auto written = write_auto_reply(wanted.reply, asking, letter);
  wanted.to.utf8 = written.utf8;
  draft->append(written.octets);
  mailstore::BodyFacts facts;
  facts.octets = written.octets.size();
  facts.header_octets = written.header_octets;
  auto accepting = store_.accept(std::move(*draft), std::move(wanted.to), facts);
  auto accepted = co_await std::move(accepting);
  if (accepted) {
    log::info("auto_reply.sent", {{"id", letter.id}, {"about", occasion.id}, {"from", letter.from}, {"to", letter.to}});
  }
  co_return accepted;
}

}  // namespace smtpd::report

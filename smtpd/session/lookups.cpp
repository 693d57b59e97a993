#include "smtpd/session/lookups.hpp"

#include <chrono>
#include <utility>

#include "common/log.hpp"

namespace smtpd {
namespace {

std::unexpected<Cause> trouble(const VirtualServer& server, const mailstore::Error& error) {
  common::log::warning("directory.failed", {{"server", server.terms.server}, {"why", error.detail}});
  return std::unexpected(Cause::store_trouble);
}

}  // namespace

std::expected<bool, Cause> find_sender(mailstore::DirectoryView& directory, const VirtualServer& server,
                                       const CheckSender& question, Transaction& transaction) {
  if (question.account) {
    const auto own = routing::is_address_of(directory, question.sender, *question.account, server.terms.default_domain);
    if (!own) return trouble(server, own.error());
    if (!*own) return false;
  }
  auto home = directory.domain(question.sender.domain);
  if (home && *home && (*home)->kind == mailstore::DomainKind::alias) home = directory.domain((*home)->alias_of);
  if (!home) return trouble(server, home.error());
  if (*home && !(*home)->journal.empty()) transaction.add_journals({(*home)->journal});
  return true;
}

std::expected<routing::Resolution, Cause> find_recipient(mailstore::DirectoryView& directory,
                                                         const common::Clock& clock, const VirtualServer& server,
                                                         const CheckRecipient& question) {
  const routing::Returns returns{*server.reporting.srs, std::chrono::floor<std::chrono::days>(clock.wall())};
  auto found = routing::resolve_with_room(directory, question.recipient, question.declared, server.terms.default_domain,
                                          question.relay, nullptr, &returns);
  if (!found) return trouble(server, found.error());
  return std::move(*found);
}

}  // namespace smtpd

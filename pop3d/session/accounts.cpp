#include "pop3d/session/accounts.hpp"

#include <utility>

#include "common/address.hpp"

namespace pop3d {

mailstore::Result<std::optional<Account>> find_account(mailstore::DirectoryView& directory, std::string_view name,
                                                       std::string_view default_domain) {
  auto address = common::parse_address(name);
  if (!address) return std::nullopt;
  if (address->domain.empty()) address->domain = default_domain;

  bool locked = false;
  // An alias domain stands for a domain, never for another alias domain.
  for (int step = 0; step < 2; ++step) {
    auto domain = directory.domain(address->domain);
    if (!domain) return std::unexpected(std::move(domain.error()));
    if (!*domain) return std::nullopt;
    locked = locked || (*domain)->locked;
    if ((*domain)->kind == mailstore::DomainKind::local) break;
    if ((*domain)->kind != mailstore::DomainKind::alias || step == 1) return std::nullopt;
    address->domain = (*domain)->alias_of;
  }

  auto mailbox = directory.mailbox(common::canonical_key(*address));
  if (!mailbox) return std::unexpected(std::move(mailbox.error()));
  if (!*mailbox) return std::nullopt;
  auto& found = **mailbox;
  auto& credential = found.credential;
  // The central postmaster is always reached, whatever is locked around it.
  const bool central = found.address == "postmaster@" + std::string{default_domain};
  return Account{found.number,
                 std::move(found.address),
                 {credential.version, std::move(credential.password_hash), std::move(credential.scram_sha256),
                  std::move(found.apop_secret)},
                 found.locked || (locked && !central)};
}

}  // namespace pop3d

#include "mailstore/account_key.hpp"

#include "common/address.hpp"

namespace mailstore {

std::string account_key(DirectoryView& directory, std::string_view name, std::string_view default_domain) {
  auto address = common::parse_address(name);
  if (!address) return std::string{name};
  if (address->domain.empty()) address->domain = default_domain;
  const auto domain = directory.domain(address->domain);
  if (domain && *domain && (*domain)->kind == DomainKind::alias) address->domain = (*domain)->alias_of;
  return common::canonical_key(*address);
}

}  // namespace mailstore

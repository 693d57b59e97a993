#include "tools/pennypost/names.hpp"

#include <fmt/format.h>

#include "common/address.hpp"
#include "tools/pennypost/session.hpp"

namespace tools {

GivenAddress parse_given_address(const std::string& text) {
  const auto address = common::parse_address(text);
  if (!address) refuse(fmt::format("'{}' is not an address: {}; write it as name@example.org", text, address.error()));
  if (address->domain.empty()) {
    refuse(fmt::format("'{}' has no domain; write the whole address, as {}@example.org", text, text));
  }
  if (address->domain.starts_with('[')) {
    refuse(fmt::format("'{}' names a host by its number; addresses here are in domains, as name@example.org", text));
  }
  return {common::canonical_key(*address), common::format_address(*address), address->domain};
}

std::string parse_given_domain(const std::string& text) {
  auto name = common::canonical_domain(text);
  if (!name) refuse(fmt::format("'{}' is not a domain name: {}; write it as example.org", text, name.error()));
  if (name->starts_with('['))
    refuse(fmt::format("'{}' is an address literal, not a domain name; write it as example.org", text));
  return std::move(*name);
}

std::string parse_given_domain_or_pattern(const std::string& text) {
  return text.starts_with("*.") ? "*." + parse_given_domain(text.substr(2)) : parse_given_domain(text);
}

mailstore::Domain need_domain(mailstore::DirectoryView& view, const std::string& name) {
  auto found = need(view.domain(name), fmt::format("domain {} could not be read", name));
  if (!found) {
    fail(fmt::format("no domain {} here; add it with 'pennypost domain add {}' or check the spelling", name, name));
  }
  return std::move(*found);
}

mailstore::Domain need_local_domain(mailstore::DirectoryView& view, const std::string& name) {
  auto domain = need_domain(view, name);
  if (domain.kind == mailstore::DomainKind::alias) {
    fail(fmt::format("domain {} has no mailboxes of its own: it is an alias of {}; use the address in {}", name,
                     domain.alias_of, domain.alias_of));
  }
  if (domain.kind != mailstore::DomainKind::local) {
    fail(
        fmt::format("domain {} has no mailboxes: its mail goes elsewhere; see 'pennypost domain show {}'", name, name));
  }
  return domain;
}

mailstore::Mailbox need_mailbox(mailstore::DirectoryView& view, const GivenAddress& address) {
  auto found = need(view.mailbox(address.key), fmt::format("mailbox {} could not be read", address.key));
  if (found) return std::move(*found);
  const auto alias = need(view.alias(address.key), fmt::format("{} could not be read", address.key));
  if (alias)
    fail(fmt::format("{} is an alias, not a mailbox; see 'pennypost alias show {}'", address.key, address.key));
  need_local_domain(view, address.domain);
  if (need(view.removed_mailbox(address.key), fmt::format("{} could not be read", address.key))) {
    fail(
        fmt::format("no mailbox {} here: it was removed; bring it back with 'pennypost mailbox restore {}', or give "
                    "its address free with 'pennypost mailbox remove --purge {}'",
                    address.key, address.key, address.key));
  }
  fail(fmt::format("no mailbox {} here; see 'pennypost mailbox list {}' or add it with 'pennypost mailbox add {}'",
                   address.key, address.domain, address.key));
}

}  // namespace tools

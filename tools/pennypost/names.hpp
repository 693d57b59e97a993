#pragma once

#include <string>

#include "mailstore/directory.hpp"

/// The names that people type, checked and in the form under which the directory keeps them.
namespace tools {

struct GivenAddress {
  std::string key;      ///< canonical
  std::string display;  ///< as typed
  std::string domain;
};

/// Refuses (usage) what is not a whole address.
GivenAddress parse_given_address(const std::string& text);
/// Refuses (usage) what is not a domain name.
std::string parse_given_domain(const std::string& text);
/// The same, or "*." in front of one: a remote domain that stands for all below another.
std::string parse_given_domain_or_pattern(const std::string& text);

/// The local domain of an address or a name, or the command ends: no such domain here, or one of another kind.
mailstore::Domain need_local_domain(mailstore::DirectoryView& view, const std::string& name);
mailstore::Domain need_domain(mailstore::DirectoryView& view, const std::string& name);
mailstore::Mailbox need_mailbox(mailstore::DirectoryView& view, const GivenAddress& address);

}  // namespace tools

#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/auth/verifier.hpp"
#include "mailstore/directory.hpp"

namespace pop3d {

/// Somebody who may log in.
struct Account {
  mailstore::MailboxNumber mailbox{};
  std::string address;
  common::auth::StoredKeys keys;
  bool locked = false;  ///< the mailbox, or its domain (which does not hold for the central postmaster)
};

/// Who a log-in name means: the mailbox of that address, a bare name completed with `default_domain`, an alias domain
/// replaced by the domain that it stands for. An alias is no mailbox and has no password: nullopt, as for a name that
/// nobody has.
mailstore::Result<std::optional<Account>> find_account(mailstore::DirectoryView& directory, std::string_view name,
                                                       std::string_view default_domain);

}  // namespace pop3d

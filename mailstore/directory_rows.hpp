#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "mailstore/index.hpp"
#include "mailstore/lmdb.hpp"
#include "mailstore/rows.hpp"

/// Walks over the rows of a domain's addresses, for those who look and for those who change.
namespace mailstore {

/// Calls `each` with the rows of one domain's addresses (all for an empty domain), those behind the address `after`,
/// until it returns false.
template <class Each>
void each_address(MDB_txn* txn, MDB_dbi table, std::string_view domain, Each each, std::string_view after = {}) {
  lmdb::Cursor cursor(txn, table);
  const std::string prefix = domain.empty() ? std::string() : std::string(domain) + '\0';
  const std::string behind = after.empty() ? std::string() : address_key(after);
  const auto& from = std::max(prefix, behind);
  for (auto row = from.empty() ? cursor.first() : cursor.seek(from); row; row = cursor.next()) {
    if (!row->key.starts_with(prefix)) return;
    if (row->key == behind) continue;
    if (!each(*row)) return;
  }
}

struct DomainUse {
  std::uint64_t mailboxes = 0, removed = 0, aliases = 0;
};

/// How many of each a domain has.
DomainUse use_of(const Index& index, MDB_txn* txn, std::string_view domain);

}  // namespace mailstore

#include "mailstore/directory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "mailstore/awaitable.hpp"
#include "mailstore/directory_rows.hpp"
#include "mailstore/store_impl.hpp"

namespace mailstore {
namespace {

std::uint64_t now_microseconds() {
  using namespace std::chrono;
  return static_cast<std::uint64_t>(duration_cast<microseconds>(system_clock::now().time_since_epoch()).count());
}

std::string domain_of(std::string_view address) {
  const auto at = address.rfind('@');
  return at == std::string_view::npos ? std::string() : std::string(address.substr(at + 1));
}

/// A new version for every change; 0 where there is nothing to log in with.
void set_version(Change& change, Credential& credential) {
  const bool can_log_in = !credential.password_hash.empty() || !credential.scram_sha256.empty();
  credential.version = can_log_in ? change.index().take_number(change.txn(), meta::credential) : 0;
}

MailboxRow make_mailbox(Change& change, const NewMailbox& wanted) {
  const auto& index = change.index();
  MailboxRow row;
  auto& box = row.mailbox;
  box.number = MailboxNumber{static_cast<std::uint32_t>(index.take_number(change.txn(), meta::next_mailbox))};
  box.address = wanted.address;
  box.display = wanted.display.empty() ? wanted.address : wanted.display;
  box.created = now_microseconds();
  box.quota_octets = wanted.quota_octets;
  box.quota_messages = wanted.quota_messages;
  box.credential = wanted.credential;
  set_version(change, box.credential);
  change.put_mailbox(row);
  return row;
}

/// The alias domain that keeps `name` from being removed, if there is one.
Result<void> stands_alone(const Index& index, MDB_txn* txn, std::string_view name) {
  lmdb::Cursor cursor(txn, index.tables().domains);
  for (auto row = cursor.first(); row; row = cursor.next()) {
    if (decode_domain(row->key, row->value).alias_of == name)
      return fail(Errc::conflict, fmt::format("{} is an alias domain of it: remove that first", row->key));
  }
  return {};
}

/// True when following `targets` leads back to `address`.
bool leads_to(const Index& index, MDB_txn* txn, const std::vector<std::string>& targets, std::string_view address) {
  std::set<std::string> seen;
  std::vector<std::string> open = targets;
  while (!open.empty()) {
    auto next = std::move(open.back());
    open.pop_back();
    if (const auto domain = index.domain(txn, domain_of(next)); domain && domain->kind == DomainKind::alias) {
      next.replace(next.rfind('@') + 1, std::string::npos, domain->alias_of);
    }
    if (next == address) return true;
    if (!seen.insert(next).second) continue;
    if (auto alias = index.alias(txn, next)) open.insert(open.end(), alias->targets.begin(), alias->targets.end());
    if (auto box = index.mailbox(txn, next); box && !box->removed)
      open.insert(open.end(), box->mailbox.forward.begin(), box->mailbox.forward.end());
  }
  return false;
}

/// An address for a catch-all: somebody has it now, so that it cannot lead to itself.
Result<void> has_somebody(const Index& index, MDB_txn* txn, const std::string& address) {
  const auto mailbox = index.mailbox(txn, address);
  if ((mailbox && !mailbox->removed) || index.alias(txn, address)) return {};
  return fail(Errc::not_found, fmt::format("nobody has the address {}", address));
}

/// An address for copies: elsewhere, or somebody has it now.
Result<void> can_get_copies(const Index& index, MDB_txn* txn, const std::string& address) {
  const auto domain = index.domain(txn, domain_of(address));
  if (!domain || domain->kind != DomainKind::local) return {};
  return has_somebody(index, txn, address);
}

/// Where a mailbox's mail may go on to.
Result<void> can_forward(const Index& index, MDB_txn* txn, const std::string& address,
                         const std::vector<std::string>& targets) {
  std::size_t octets = 0;
  for (const auto& target : targets) octets += target.size();
  if (targets.size() > forward_limit || octets > forward_octets_limit) {
    return fail(Errc::conflict, fmt::format("mail of a mailbox goes on to {} addresses at most, of {} octets together",
                                            forward_limit, forward_octets_limit));
  }
  if (leads_to(index, txn, targets, address))
    return fail(Errc::conflict, fmt::format("these addresses lead back to {}: a loop", address));
  return {};
}

/// An alias that leads back to itself.
std::optional<std::string> first_loop(const Index& index, MDB_txn* txn) {
  std::optional<std::string> looped;
  each_address(txn, index.tables().aliases, {}, [&](const lmdb::Row& row) {
    auto alias = decode_alias(row.key, row.value);
    if (leads_to(index, txn, alias.targets, alias.address)) looped = std::move(alias.address);
    return !looped;
  });
  return looped;
}

/// That of marked copies is nobody's.
Result<void> can_be_given(std::string_view address) {
  if (address.substr(0, address.rfind('@')) != copies_local_part) return {};
  return fail(Errc::conflict, fmt::format("{} marks copies of a domain's mail, and is nobody's address", address));
}

/// Why an address cannot be given: a mailbox, a removed one (both ways out are named), an alias.
Result<void> is_free(const Index& index, MDB_txn* txn, const std::string& address) {
  if (auto given = can_be_given(address); !given) return given;
  if (const auto there = index.mailbox(txn, address)) {
    if (!there->removed) return fail(Errc::exists, fmt::format("the mailbox {} is there already", address));
    return fail(Errc::conflict,
                fmt::format("{} was removed and its mail is kept: 'mailbox restore {}' brings it back, 'mailbox "
                            "remove --purge {}' gives the address free",
                            address, address, address));
  }
  if (index.alias(txn, address)) return fail(Errc::exists, fmt::format("{} is an alias", address));
  return {};
}

Result<Domain> own_domain(const Index& index, MDB_txn* txn, std::string_view address) {
  const auto name = domain_of(address);
  auto domain = index.domain(txn, name);
  if (!domain) return fail(Errc::not_found, fmt::format("there is no domain {}", name));
  if (domain->kind == DomainKind::alias) {
    return fail(Errc::conflict,
                fmt::format("{} is an alias domain of {}: add the address there", name, domain->alias_of));
  }
  if (domain->kind != DomainKind::local) return fail(Errc::conflict, name + " is no domain with mailboxes of its own");
  return *domain;
}

/// A mailbox to be purged.
struct Doomed {
  std::string address;
  MailboxNumber number{};
  std::uint64_t removed_before = 0;  ///< one that was brought back and removed again stays
};

/// Nobody who gets the address later gets what its owner was given: the mail of a remote domain.
void forget_account(Change& change, const std::string& address) {
  std::vector<Domain> named;
  {
    lmdb::Cursor cursor(change.txn(), change.index().tables().domains);
    for (auto row = cursor.first(); row; row = cursor.next()) {
      // Most name nobody: a look at the octets is a fraction of what reading the row costs.
      if (row->value.find(address) == std::string_view::npos) continue;
      auto domain = decode_domain(row->key, row->value);
      if (std::erase(domain.remote.dequeue_accounts, address) > 0) named.push_back(std::move(domain));
    }
  }
  for (const auto& domain : named) change.put_domain(domain);
}

/// Takes a removed mailbox's mail away in pieces, resting between them as long as each took, then the mailbox.
/// `not_found`: it is not there any more, or was brought back.
asio::awaitable<Result<void>> purge_mail(Store& store, std::shared_ptr<Store::Impl> impl, Doomed doomed) {
  // Every removal takes the maildrop lock: a session that reads this mailbox keeps its view to the end.
  auto lock = store.lock_maildrop(doomed.number);
  if (!lock)
    co_return fail(lock.error().code,
                   fmt::format("{} is being read; it is removed, purge it once the session has ended", doomed.address));
  for (;;) {
    auto empty = std::make_shared<bool>(false);
    auto apply = [doomed, empty](Change& change) -> Result<void> {
      constexpr std::uint64_t piece = 250;
      const auto row = change.index().mailbox(change.txn(), doomed.address);
      if (!row || row->mailbox.number != doomed.number || !row->removed || row->removed_at > doomed.removed_before)
        return fail(Errc::not_found, fmt::format("the removed mailbox {} is not there any more", doomed.address));
      *empty = change.purge_entries(row->mailbox.number, piece) < piece;
      if (*empty) {
        forget_account(change, doomed.address);
        change.erase_mailbox(*row);
      }
      return {};
    };
    const auto begun = std::chrono::steady_clock::now();
    auto purging = impl->commit(1000, std::move(apply));
    const auto purged = co_await std::move(purging);
    if (!purged || *empty) co_return purged;
    auto resting = rest(std::chrono::steady_clock::now() - begun);
    co_await std::move(resting);
  }
}

}  // namespace

asio::awaitable<Result<void>> Store::add_domain(Domain wanted) {
  auto apply = [wanted = std::move(wanted)](Change& change) mutable -> Result<void> {
    const auto& index = change.index();
    if (index.domain(change.txn(), wanted.name))
      return fail(Errc::exists, fmt::format("the domain {} is there already", wanted.name));
    if (wanted.kind == DomainKind::alias) {
      const auto target = index.domain(change.txn(), wanted.alias_of);
      if (!target) return fail(Errc::not_found, fmt::format("there is no domain {}", wanted.alias_of));
      if (target->kind != DomainKind::local) {
        return fail(Errc::conflict, fmt::format("{} is no domain with mailboxes of its own", wanted.alias_of));
      }
    }
    bool first = wanted.kind == DomainKind::local;
    lmdb::Cursor cursor(change.txn(), index.tables().domains);
    for (auto row = cursor.first(); row && first; row = cursor.next()) {
      first = decode_domain(row->key, row->value).kind != DomainKind::local;
    }
    wanted.created = now_microseconds();
    change.put_domain(wanted);
    if (wanted.kind == DomainKind::alias) {
      if (const auto looped = first_loop(index, change.txn()))
        return fail(Errc::conflict, fmt::format("the alias {} would lead back to itself: a loop", *looped));
    }
    // RFC 5321 4.5.1: there is always a postmaster.
    const auto postmaster = "postmaster@" + wanted.name;
    if (first && !index.mailbox(change.txn(), postmaster)) make_mailbox(change, NewMailbox{.address = postmaster});
    if (!wanted.journal.empty()) {
      if (auto there = can_get_copies(index, change.txn(), wanted.journal); !there) return there;
    }
    if (!wanted.catch_all.empty()) return has_somebody(index, change.txn(), wanted.catch_all);
    return {};
  };
  return impl_->commit(8, std::move(apply));
}

asio::awaitable<Result<void>> Store::lock_domain(std::string name, bool locked) {
  DomainChange change;
  change.locked = locked;
  return change_domain(std::move(name), std::move(change));
}

asio::awaitable<Result<void>> Store::change_domain(std::string name, DomainChange wanted) {
  auto apply = [name = std::move(name), wanted = std::move(wanted)](Change& change) -> Result<void> {
    const auto& index = change.index();
    auto domain = index.domain(change.txn(), name);
    if (!domain) return fail(Errc::not_found, fmt::format("there is no domain {}", name));
    if (domain->kind != DomainKind::local &&
        (wanted.catch_all || wanted.quota_octets || wanted.plus_addressing || wanted.journal || wanted.fetch))
      return fail(Errc::conflict, fmt::format("{} is no domain with mailboxes of its own", name));
    if (wanted.catch_all && !wanted.catch_all->empty()) {
      if (auto there = has_somebody(index, change.txn(), *wanted.catch_all); !there) return there;
    }
    if (wanted.journal && !wanted.journal->empty()) {
      if (auto there = can_get_copies(index, change.txn(), *wanted.journal); !there) return there;
    }
    if (domain->kind != DomainKind::remote && wanted.remote)
      return fail(Errc::conflict, fmt::format("{} is no remote domain", name));
    if (wanted.locked) domain->locked = *wanted.locked;
    if (wanted.catch_all) domain->catch_all = *wanted.catch_all;
    if (wanted.quota_octets) domain->quota_octets = *wanted.quota_octets;
    if (wanted.plus_addressing) domain->plus_addressing = *wanted.plus_addressing;
    if (wanted.journal) domain->journal = *wanted.journal;
    if (wanted.fetch) domain->fetch = *wanted.fetch;
    if (wanted.remote) domain->remote = *wanted.remote;
    change.put_domain(*domain);
    return {};
  };
  return impl_->commit(1, std::move(apply));
}

asio::awaitable<Result<void>> Store::remove_domain(std::string name, bool purge) {
  {
    const ReadTxn txn(impl_->core.index);
    if (!impl_->core.index.domain(txn, name))
      co_return fail(Errc::not_found, fmt::format("there is no domain {}", name));
    // Before any mail is purged, not behind it.
    if (auto alone = stands_alone(impl_->core.index, txn, name); !alone) co_return alone;
  }
  if (purge) {
    // Box by box, so that no transaction grows with the domain. The domain is locked first: nobody logs in any more. A
    // mailbox added behind us is found at the end, and the domain stays.
    auto locking = lock_domain(name, true);
    const auto locked = co_await std::move(locking);
    if (!locked) co_return locked;
    std::vector<std::string> addresses;
    {
      const ReadTxn txn(impl_->core.index);
      each_address(txn, impl_->core.index.tables().mailboxes, name, [&](const lmdb::Row& row) {
        addresses.push_back(address_of(row.key));
        return true;
      });
    }
    for (const auto& address : addresses) {
      auto removing = remove_mailbox(address, true);
      const auto removed = co_await std::move(removing);
      if (!removed && removed.error().code != Errc::not_found) co_return removed;
    }
  }
  auto apply = [name = std::move(name), purge](Change& change) -> Result<void> {
    const auto& index = change.index();
    const auto domain = index.domain(change.txn(), name);
    if (!domain) return fail(Errc::not_found, fmt::format("there is no domain {}", name));
    const auto use = use_of(index, change.txn(), name);
    if (use.mailboxes + use.removed > 0 || (use.aliases > 0 && !purge)) {
      return fail(Errc::conflict, fmt::format("{} has {} mailboxes, {} removed ones and {} aliases", name,
                                              use.mailboxes, use.removed, use.aliases));
    }
    if (auto alone = stands_alone(index, change.txn(), name); !alone) return alone;
    std::vector<std::string> aliases;
    each_address(change.txn(), index.tables().aliases, name, [&](const lmdb::Row& row) {
      aliases.push_back(address_of(row.key));
      return true;
    });
    for (const auto& alias : aliases) change.erase_alias(alias);
    change.erase_domain(name);
    return {};
  };
  auto removing = impl_->commit(1000, std::move(apply));
  co_return co_await std::move(removing);
}

asio::awaitable<Result<MailboxNumber>> Store::add_mailbox(NewMailbox wanted) {
  auto number = std::make_shared<MailboxNumber>();
  auto apply = [wanted = std::move(wanted), number](Change& change) -> Result<void> {
    const auto& index = change.index();
    if (auto domain = own_domain(index, change.txn(), wanted.address); !domain) return std::unexpected(domain.error());
    if (auto free = is_free(index, change.txn(), wanted.address); !free) return std::unexpected(free.error());
    *number = make_mailbox(change, wanted).mailbox.number;
    return {};
  };
  auto adding = impl_->commit(4, std::move(apply));
  auto added = co_await std::move(adding);
  if (!added) co_return std::unexpected(added.error());
  co_return *number;
}

asio::awaitable<Result<void>> Store::change_mailbox(std::string address, MailboxChange wanted) {
  auto apply = [address = std::move(address), wanted = std::move(wanted)](Change& change) -> Result<void> {
    auto row = change.index().mailbox(change.txn(), address);
    if (!row || row->removed) return fail(Errc::not_found, fmt::format("there is no mailbox {}", address));
    auto& box = row->mailbox;
    if (wanted.locked) box.locked = *wanted.locked;
    if (wanted.quota_octets) box.quota_octets = *wanted.quota_octets;
    if (wanted.quota_messages) box.quota_messages = *wanted.quota_messages;
    if (wanted.credential) {
      box.credential = *wanted.credential;
      set_version(change, box.credential);
    }
    if (wanted.apop_secret) box.apop_secret = *wanted.apop_secret;
    if (wanted.send_as) {
      std::size_t octets = 0;
      for (const auto& grant : *wanted.send_as) octets += grant.size();
      if (wanted.send_as->size() > send_as_limit || octets > send_as_octets_limit) {
        return fail(Errc::conflict, fmt::format("a mailbox may send as {} others at most, of {} octets together",
                                                send_as_limit, send_as_octets_limit));
      }
      box.send_as = *wanted.send_as;
    }
    if (wanted.forward) {
      if (auto fine = can_forward(change.index(), change.txn(), box.address, *wanted.forward); !fine) return fine;
      box.forward = *wanted.forward;
    }
    if (wanted.keep_copy) box.keep_copy = *wanted.keep_copy;
    if (wanted.auto_reply) {
      const auto& reply = *wanted.auto_reply;
      if (reply && (reply->subject.size() > auto_reply_subject_limit || reply->text.size() > auto_reply_text_limit)) {
        return fail(Errc::conflict,
                    fmt::format("an automatic reply has a subject of {} octets and a text of {} at most",
                                auto_reply_subject_limit, auto_reply_text_limit));
      }
      if (reply) {
        change.put_auto_reply(box.number, *reply);
      } else if (box.auto_reply) {
        change.erase_auto_reply(box.number);
      }
      box.auto_reply = reply.has_value();
    }
    change.put_mailbox(*row);
    return {};
  };
  return impl_->commit(2, std::move(apply));
}

asio::awaitable<Result<void>> Store::remove_mailbox(std::string address, bool purge) {
  auto number = std::make_shared<MailboxNumber>();
  auto mark = [address, purge, number](Change& change) -> Result<void> {
    auto row = change.index().mailbox(change.txn(), address);
    if (!row || (row->removed && !purge)) return fail(Errc::not_found, fmt::format("there is no mailbox {}", address));
    *number = row->mailbox.number;
    if (!row->removed) row->removed_at = now_microseconds();
    row->removed = true;
    change.put_mailbox(*row);
    return {};
  };
  auto marking = impl_->commit(2, std::move(mark));
  const auto marked = co_await std::move(marking);
  if (!marked || !purge) co_return marked;
  auto purging = purge_mail(*this, impl_, Doomed{std::move(address), *number, ~std::uint64_t{0}});
  co_return co_await std::move(purging);
}

asio::awaitable<Result<void>> Store::restore_mailbox(std::string address) {
  auto apply = [address = std::move(address)](Change& change) -> Result<void> {
    auto row = change.index().mailbox(change.txn(), address);
    if (!row) return fail(Errc::not_found, fmt::format("there is no mailbox {}, nor was one removed", address));
    if (!row->removed) return fail(Errc::exists, fmt::format("the mailbox {} is there already", address));
    row->removed = false;
    row->removed_at = 0;
    change.put_mailbox(*row);
    return {};
  };
  return impl_->commit(2, std::move(apply));
}

asio::awaitable<Result<void>> Store::rename_mailbox(std::string address, std::string to, std::string display) {
  // Who names it is looked for outside the transaction that changes them: the list of all aliases may be long.
  std::vector<std::string> aliases;
  std::vector<std::string> domains;
  std::vector<std::string> boxes;
  const auto looked = guarded([&]() -> Result<void> {
    const ReadTxn txn(impl_->core.index);
    each_address(txn, impl_->core.index.tables().aliases, {}, [&](const lmdb::Row& row) {
      const auto alias = decode_alias(row.key, row.value);
      if (alias.owner == address || std::ranges::find(alias.targets, address) != alias.targets.end())
        aliases.push_back(alias.address);
      return true;
    });
    each_address(txn, impl_->core.index.tables().mailboxes, {}, [&](const lmdb::Row& row) {
      const auto box = decode_mailbox(row.key, row.value).mailbox;
      if (std::ranges::find(box.forward, address) != box.forward.end()) boxes.push_back(box.address);
      return true;
    });
    lmdb::Cursor cursor(txn, impl_->core.index.tables().domains);
    for (auto row = cursor.first(); row; row = cursor.next()) {
      const auto domain = decode_domain(row->key, row->value);
      const auto& accounts = domain.remote.dequeue_accounts;
      if (domain.catch_all == address || domain.journal == address ||
          std::ranges::find(accounts, address) != accounts.end())
        domains.emplace_back(row->key);
    }
    return {};
  });
  if (!looked) co_return looked;
  const auto rows = 4 + aliases.size() + domains.size() + boxes.size();
  auto apply = [address = std::move(address), to = std::move(to), display = std::move(display),
                aliases = std::move(aliases), domains = std::move(domains),
                boxes = std::move(boxes)](Change& change) -> Result<void> {
    const auto& index = change.index();
    auto row = index.mailbox(change.txn(), address);
    if (!row || row->removed) return fail(Errc::not_found, fmt::format("there is no mailbox {}", address));
    row->mailbox.display = display.empty() ? to : display;
    if (to == address) {
      change.put_mailbox(*row);
      return {};
    }
    if (auto domain = own_domain(index, change.txn(), to); !domain) return std::unexpected(domain.error());
    if (auto free = is_free(index, change.txn(), to); !free) return free;
    row->mailbox.address = to;
    std::ranges::replace(row->mailbox.forward, address, to);
    change.rename_mailbox(*row, address);
    for (const auto& name : aliases) {
      auto alias = index.alias(change.txn(), name);
      if (!alias) continue;
      std::ranges::replace(alias->targets, address, to);
      if (alias->owner == address) alias->owner = to;
      change.put_alias(*alias);
    }
    for (const auto& name : boxes) {
      auto box = index.mailbox(change.txn(), name);
      if (!box) continue;
      std::ranges::replace(box->mailbox.forward, address, to);
      change.put_mailbox(*box);
    }
    for (const auto& name : domains) {
      auto domain = index.domain(change.txn(), name);
      if (!domain) continue;
      if (domain->catch_all == address) domain->catch_all = to;
      if (domain->journal == address) domain->journal = to;
      std::ranges::replace(domain->remote.dequeue_accounts, address, to);
      change.put_domain(*domain);
    }
    return {};
  };
  auto renaming = impl_->commit(rows, std::move(apply));
  co_return co_await std::move(renaming);
}

asio::awaitable<Result<PurgeResult>> Store::purge_removed(std::uint64_t before) {
  constexpr std::size_t page = 1000;  // rows looked at by one transaction
  PurgeResult result;
  std::string after;
  for (bool more = true; more;) {
    std::vector<Doomed> doomed;
    std::size_t seen = 0;
    auto read = guarded([&]() -> Result<void> {
      const ReadTxn txn(impl_->core.index);
      const auto from = after;
      each_address(
          txn, impl_->core.index.tables().mailboxes, {},
          [&](const lmdb::Row& row) {
            auto found = decode_mailbox(row.key, row.value);
            after = found.mailbox.address;
            if (found.removed && found.removed_at <= before)
              doomed.push_back({std::move(found.mailbox.address), found.mailbox.number, before});
            return ++seen < page;
          },
          from);
      return {};
    });
    if (!read) co_return std::unexpected(read.error());
    more = seen == page;
    for (auto& one : doomed) {
      auto purging = purge_mail(*this, impl_, one);
      const auto purged = co_await std::move(purging);
      if (purged) {
        result.mailboxes.push_back(std::move(one.address));
      } else if (purged.error().code == Errc::in_use) {
        ++result.busy;
      } else if (purged.error().code != Errc::not_found) {
        co_return std::unexpected(purged.error());
      }
    }
    if (!more) break;
    auto resting = rest(std::chrono::milliseconds(1));
    co_await std::move(resting);
  }
  co_return result;
}

asio::awaitable<Result<bool>> Store::note_answered(MailboxNumber mailbox, std::string sender, std::uint64_t when,
                                                   std::chrono::seconds period) {
  auto noted = std::make_shared<bool>(false);
  const auto whom = keyed(sender, impl_->core.identity.key);
  const auto micros = static_cast<std::uint64_t>(std::chrono::microseconds(period).count());
  auto apply = [mailbox, whom, when, before = when < micros ? 0 : when - micros,
                noted](Change& change) -> Result<void> {
    *noted = change.index().auto_reply(change.txn(), mailbox).has_value() &&
             change.note_answered(mailbox, whom, when, before);
    return {};
  };
  auto noting = impl_->commit(2, std::move(apply));
  const auto done = co_await std::move(noting);
  if (!done) co_return std::unexpected(done.error());
  co_return *noted;
}

asio::awaitable<Result<void>> Store::put_alias(Alias wanted) {
  auto apply = [wanted = std::move(wanted)](Change& change) -> Result<void> {
    const auto& index = change.index();
    if (auto domain = own_domain(index, change.txn(), wanted.address); !domain) return std::unexpected(domain.error());
    if (auto given = can_be_given(wanted.address); !given) return given;
    if (const auto there = index.mailbox(change.txn(), wanted.address)) {
      if (there->removed) return is_free(index, change.txn(), wanted.address);
      return fail(Errc::conflict, fmt::format("{} is a mailbox", wanted.address));
    }
    if (wanted.targets.empty()) return fail(Errc::conflict, "an alias leads somewhere");
    if (wanted.owner == wanted.address) return fail(Errc::conflict, "a group does not own itself");
    if (leads_to(index, change.txn(), wanted.targets, wanted.address)) {
      return fail(Errc::conflict, fmt::format("these targets lead back to {}: a loop", wanted.address));
    }
    change.put_alias(wanted);
    return {};
  };
  return impl_->commit(2, std::move(apply));
}

asio::awaitable<Result<void>> Store::remove_alias(std::string address) {
  auto apply = [address = std::move(address)](Change& change) -> Result<void> {
    if (!change.index().alias(change.txn(), address))
      return fail(Errc::not_found, fmt::format("there is no alias {}", address));
    change.erase_alias(address);
    return {};
  };
  return impl_->commit(1, std::move(apply));
}

}  // namespace mailstore

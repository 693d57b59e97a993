#include <memory>
#include <optional>
#include <utility>

#include "mailstore/directory.hpp"
#include "mailstore/directory_rows.hpp"
#include "mailstore/store_impl.hpp"

/// The directory as readers see it.
namespace mailstore {
namespace {

class Look final : public DirectoryView {
 public:
  explicit Look(std::shared_ptr<Store::Impl> store)
      : store_(std::move(store)), index_(store_->core.index), txn_(index_) {}

  Result<std::optional<Domain>> domain(std::string_view name) override {
    return guarded([&]() -> Result<std::optional<Domain>> { return index_.domain(txn_, name); });
  }
  Result<std::optional<Mailbox>> mailbox(std::string_view address) override {
    return guarded([&]() -> Result<std::optional<Mailbox>> { return living(index_.mailbox(txn_, address)); });
  }
  Result<std::optional<Mailbox>> mailbox(MailboxNumber number) override {
    return guarded([&]() -> Result<std::optional<Mailbox>> { return living(index_.mailbox(txn_, number)); });
  }
  Result<std::optional<Mailbox>> removed_mailbox(std::string_view address) override {
    return guarded([&]() -> Result<std::optional<Mailbox>> {
      auto row = index_.mailbox(txn_, address);
      if (!row || !row->removed) return std::nullopt;
      row->mailbox.removed_at = row->removed_at;
      return std::move(row->mailbox);
    });
  }
  Result<std::optional<Alias>> alias(std::string_view address) override {
    return guarded([&]() -> Result<std::optional<Alias>> { return index_.alias(txn_, address); });
  }
  Result<Totals> totals(MailboxNumber number) override {
    return guarded([&]() -> Result<Totals> { return index_.totals(txn_, number); });
  }
  Result<std::optional<AutoReply>> auto_reply(MailboxNumber number) override {
    return guarded([&]() -> Result<std::optional<AutoReply>> { return index_.auto_reply(txn_, number); });
  }
  Result<void> each_domain(const std::function<bool(const Domain&)>& each, std::string_view after) override {
    return guarded([&]() -> Result<void> {
      lmdb::Cursor cursor(txn_, index_.tables().domains);
      for (auto row = after.empty() ? cursor.first() : cursor.seek(after); row; row = cursor.next()) {
        if (row->key == after) continue;
        auto domain = decode_domain(row->key, row->value);
        domain.mailboxes = use_of(index_, txn_, domain.name).mailboxes;
        if (!each(domain)) break;
      }
      return {};
    });
  }
  Result<std::vector<Domain>> fetching_domains() override {
    return guarded([&]() -> Result<std::vector<Domain>> {
      std::vector<Domain> found;
      lmdb::Cursor cursor(txn_, index_.tables().domains);
      for (auto row = cursor.first(); row; row = cursor.next()) {
        auto domain = decode_domain(row->key, row->value);
        if (!domain.fetch.from.empty()) found.push_back(std::move(domain));
      }
      return found;
    });
  }
  Result<std::vector<Domain>> domains_dequeued_by(std::string_view account) override {
    return guarded([&]() -> Result<std::vector<Domain>> {
      std::vector<Domain> found;
      lmdb::Cursor cursor(txn_, index_.tables().domains);
      for (auto row = cursor.first(); row; row = cursor.next()) {
        auto domain = decode_domain(row->key, row->value);
        if (std::ranges::find(domain.remote.dequeue_accounts, account) != domain.remote.dequeue_accounts.end())
          found.push_back(std::move(domain));
      }
      return found;
    });
  }
  Result<void> each_mailbox(std::string_view domain, const std::function<bool(const Mailbox&)>& each,
                            std::string_view after, Which which) override {
    return guarded([&]() -> Result<void> {
      each_address(
          txn_, index_.tables().mailboxes, domain,
          [&](const lmdb::Row& row) {
            auto found = decode_mailbox(row.key, row.value);
            if (found.removed && which == Which::living) return true;
            if (found.removed) found.mailbox.removed_at = found.removed_at;
            return each(found.mailbox);
          },
          after);
      return {};
    });
  }
  Result<void> each_alias(std::string_view domain, const std::function<bool(const Alias&)>& each,
                          std::string_view after) override {
    return guarded([&]() -> Result<void> {
      each_address(
          txn_, index_.tables().aliases, domain,
          [&](const lmdb::Row& row) { return each(decode_alias(row.key, row.value)); }, after);
      return {};
    });
  }

 private:
  static std::optional<Mailbox> living(std::optional<MailboxRow> row) {
    if (!row || row->removed) return std::nullopt;
    return std::move(row->mailbox);
  }
  std::shared_ptr<Store::Impl> store_;
  const Index& index_;
  ReadTxn txn_;
};

}  // namespace

DomainUse use_of(const Index& index, MDB_txn* txn, std::string_view domain) {
  DomainUse use;
  each_address(txn, index.tables().mailboxes, domain, [&](const lmdb::Row& row) {
    ++(decode_mailbox(row.key, row.value).removed ? use.removed : use.mailboxes);
    return true;
  });
  each_address(txn, index.tables().aliases, domain, [&](const lmdb::Row&) {
    ++use.aliases;
    return true;
  });
  return use;
}

std::unique_ptr<DirectoryView> Store::directory() {
  return std::make_unique<Look>(impl_);
}

}  // namespace mailstore

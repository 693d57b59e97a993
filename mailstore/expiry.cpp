// Messages that were retrieved: noted as that, and removed some time later.
#include <algorithm>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>
#include <chrono>
#include <utility>

#include "mailstore/awaitable.hpp"
#include "mailstore/store_impl.hpp"

namespace mailstore {
namespace {

constexpr std::size_t piece = 250;
// Entries looked at by one transaction, some 0.1 ms.
constexpr std::size_t page = 4096;

/// What one look at the maildrops found: the messages of one mailbox that are due, and where the next look begins.
struct Due {
  MailboxNumber mailbox{};
  std::string address;
  std::vector<MessageId> ids;
  MaildropKey next{MailboxNumber{0}, 0};
  bool more = false;
};

/// Looks at up to a page of entries from `from` on, at no more than one mailbox with messages that are due.
Due find_due(const Index& index, const MaildropKey& from, std::uint64_t before) {
  Due due;
  const ReadTxn txn(index);
  lmdb::Cursor cursor(txn, index.tables().maildrop);
  std::size_t seen = 0;
  for (auto row = cursor.seek(from); row; row = cursor.next()) {
    if (row->key.size() != 12) throw Failure(Errc::corrupt, "a maildrop's key has the wrong size");
    const MailboxNumber mailbox{from_big_endian<std::uint32_t>(row->key.data())};
    const auto id = from_big_endian<std::uint64_t>(row->key.data() + 4);
    due.next = MaildropKey(mailbox, id);
    due.more = seen++ >= page || due.ids.size() >= piece || (!due.ids.empty() && mailbox != due.mailbox);
    if (due.more) break;
    if (id == totals_id) continue;
    const auto entry = decode_entry(MessageId{id}, row->value);
    if (entry.retrieved == 0 || entry.retrieved > before) continue;
    due.mailbox = mailbox;
    due.ids.push_back(entry.id);
  }
  if (due.ids.empty()) return due;
  const auto owner = index.mailbox(txn, due.mailbox);
  // The mail of a removed mailbox is kept as it is: somebody may want it back.
  if (!owner || owner->removed) due.ids.clear();
  if (owner) due.address = owner->mailbox.address;
  return due;
}

}  // namespace

asio::awaitable<Result<void>> Store::note_retrieved(const MaildropLock& lock, std::vector<MessageId> ids,
                                                    std::uint64_t when) {
  const auto mailbox = lock.mailbox();
  for (std::size_t at = 0; at < ids.size(); at += piece) {
    std::vector<MessageId> some(ids.begin() + static_cast<std::ptrdiff_t>(at),
                                ids.begin() + static_cast<std::ptrdiff_t>(std::min(ids.size(), at + piece)));
    const auto rows = some.size();
    auto apply = [mailbox, some = std::move(some), when](Change& change) -> Result<void> {
      for (const auto id : some) change.note_retrieved(mailbox, id, when);
      return {};
    };
    auto noting = impl_->commit(rows, std::move(apply));
    const auto noted = co_await std::move(noting);
    if (!noted) co_return noted;
  }
  co_return Result<void>{};
}

asio::awaitable<Result<ExpiryResult>> Store::remove_retrieved(
    std::uint64_t before, std::function<void(std::string_view, std::span<const MessageId>)> told) {
  ExpiryResult result;
  MaildropKey from(MailboxNumber{0}, 0);
  std::optional<MailboxNumber> busy;
  for (bool more = true; more;) {
    const auto begun = std::chrono::steady_clock::now();
    Due due;
    auto looked = guarded([&]() -> Result<void> {
      due = find_due(impl_->core.index, from, before);
      return {};
    });
    if (!looked) co_return std::unexpected(looked.error());
    from = due.next;
    more = due.more;
    if (!due.ids.empty() && busy != due.mailbox) {
      // Every removal takes the maildrop: a session that reads it keeps its view to the end.
      auto lock = lock_maildrop(due.mailbox);
      if (lock) {
        auto removing = remove(*lock, due.ids);
        const auto removed = co_await std::move(removing);
        if (!removed) co_return std::unexpected(removed.error());
        result.removed += removed->removed;
        told(due.address, due.ids);
      } else if (lock.error().code == Errc::in_use) {
        busy = due.mailbox;
        ++result.busy;
      } else {
        co_return std::unexpected(lock.error());
      }
    }
    if (!more) break;
    // As long as it took, and a little: others have work to do.
    auto resting = rest(std::max<std::chrono::steady_clock::duration>(std::chrono::steady_clock::now() - begun,
                                                                      std::chrono::milliseconds(1)));
    co_await std::move(resting);
  }
  co_return result;
}

Result<std::uint64_t> Store::last_login(const MaildropLock& lock) {
  return guarded([&]() -> Result<std::uint64_t> { return impl_->core.logins.last(lock.mailbox()); });
}

Result<void> Store::note_login(const MaildropLock& lock, std::uint64_t when) {
  return guarded([&]() -> Result<void> {
    impl_->core.logins.note(lock.mailbox(), when);
    return {};
  });
}

}  // namespace mailstore

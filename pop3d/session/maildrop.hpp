#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mailstore/store.hpp"
#include "pop3d/session/entries.hpp"
#include "pop3d/session/numbering.hpp"

namespace pop3d {

/// The maildrop that a session holds: locked, as it was at log-in. Gives the lock back when it goes.
class Maildrop final : public Entries {
 public:
  /// Error `in_use`: another session has it.
  static mailstore::Result<std::unique_ptr<Maildrop>> open(mailstore::Store& store, mailstore::MailboxNumber mailbox,
                                                           std::string address) {
    auto lock = store.lock_maildrop(mailbox);
    if (!lock) return std::unexpected(std::move(lock.error()));
    auto view = store.view(*lock);
    if (!view) return std::unexpected(std::move(view.error()));
    return std::unique_ptr<Maildrop>{new Maildrop{store, std::move(*lock), *view, std::move(address)}};
  }

  mailstore::Result<std::size_t> list(std::optional<mailstore::MessageId> after,
                                      std::span<mailstore::Entry> out) override {
    return store_.list(view_, after, out);
  }
  mailstore::Result<mailstore::OpenMessage> read(const mailstore::Entry& entry, std::span<char> scratch,
                                                 std::size_t want) {
    return store_.open_message(view_.mailbox, entry, scratch, want);
  }
  /// Durable on success. This object stays while it is awaited.
  asio::awaitable<mailstore::Result<mailstore::RemoveResult>> remove(std::vector<mailstore::MessageId> ids) {
    return store_.remove(lock_, std::move(ids));
  }

  /// The same.
  asio::awaitable<mailstore::Result<void>> note_retrieved(std::vector<mailstore::MessageId> ids, std::uint64_t when) {
    return store_.note_retrieved(lock_, std::move(ids), when);
  }
  mailstore::Result<std::uint64_t> last_login() { return store_.last_login(lock_); }
  mailstore::Result<void> note_login(std::uint64_t when) { return store_.note_login(lock_, when); }

  const mailstore::View& view() const { return view_; }
  const std::string& address() const { return address_; }
  Numbering& numbering() { return numbering_; }

 private:
  Maildrop(mailstore::Store& store, mailstore::MaildropLock lock, const mailstore::View& view, std::string address)
      : store_{store}, lock_{std::move(lock)}, view_{view}, address_{std::move(address)} {}

  mailstore::Store& store_;
  mailstore::MaildropLock lock_;
  mailstore::View view_;
  std::string address_;
  Numbering numbering_;
};

}  // namespace pop3d

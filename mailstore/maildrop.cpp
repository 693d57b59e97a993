#include <algorithm>
#include <utility>

#include "mailstore/store_impl.hpp"

namespace mailstore {

class MaildropLock::Impl {
 public:
  Impl(std::shared_ptr<Store::Impl> from, MailboxNumber which) : store(std::move(from)), mailbox(which) {}
  ~Impl() { store->core.maildrops.release(mailbox); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  std::shared_ptr<Store::Impl> store;
  MailboxNumber mailbox;
};

MaildropLock::MaildropLock(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MaildropLock::MaildropLock(MaildropLock&&) noexcept = default;
MaildropLock& MaildropLock::operator=(MaildropLock&&) noexcept = default;
MaildropLock::~MaildropLock() = default;
MailboxNumber MaildropLock::mailbox() const {
  return impl_->mailbox;
}

Result<MaildropLock> Store::lock_maildrop(MailboxNumber mailbox) {
  return guarded([&]() -> Result<MaildropLock> {
    if (!impl_->core.maildrops.take(mailbox)) return fail(Errc::in_use, "the maildrop is in use");
    return MaildropLock(std::make_unique<MaildropLock::Impl>(impl_, mailbox));
  });
}

Result<View> Store::view(const MaildropLock& lock) {
  return peek(lock.mailbox());
}

Result<View> Store::peek(MailboxNumber mailbox) {
  return guarded([&]() -> Result<View> {
    const ReadTxn txn(impl_->core.index);
    const auto totals = impl_->core.index.totals(txn, mailbox);
    return View{.mailbox = mailbox,
                .arrivals = totals.arrivals,
                .last = impl_->core.index.last_entry(txn, mailbox),
                .messages = totals.messages,
                .octets = totals.octets};
  });
}

Result<std::size_t> Store::list(const View& view, std::optional<MessageId> after, std::span<Entry> out) {
  return guarded([&]() -> Result<std::size_t> {
    const ReadTxn txn(impl_->core.index);
    lmdb::Cursor cursor(txn, impl_->core.index.tables().maildrop);
    std::size_t found = 0;
    const char* last = nullptr;
    const auto mailbox = std::to_underlying(view.mailbox);
    for (auto row = cursor.seek(MaildropKey(view.mailbox, after ? after->value + 1 : 0)); row && found < out.size();
         row = cursor.next()) {
      if (row->key.size() != 12) throw Failure(Errc::corrupt, "a maildrop's key has the wrong size");
      const auto id = from_big_endian<std::uint64_t>(row->key.data() + 4);
      if (id == totals_id || id > view.last.value || from_big_endian<std::uint32_t>(row->key.data()) != mailbox) break;
      auto entry = decode_entry(MessageId{id}, row->value);
      if (entry.arrival > view.arrivals) continue;  // came after log-in
      out[found++] = entry;
      last = row->value.data();
    }
    impl_->core.index.walked(found, last);
    return found;
  });
}

Result<std::optional<Entry>> Store::find(const View& view, MessageId id) {
  return guarded([&]() -> Result<std::optional<Entry>> {
    const ReadTxn txn(impl_->core.index);
    auto entry = impl_->core.index.entry(txn, view.mailbox, id);
    if (entry && entry->arrival > view.arrivals) entry.reset();
    return entry;
  });
}

Result<OpenMessage> Store::open_message(MailboxNumber mailbox, const Entry& entry, std::span<char> scratch,
                                        std::size_t want) {
  return guarded([&]() -> Result<OpenMessage> {
    auto& core = impl_->core;
    // Twice: between the look-up and the open the record may have moved to another segment.
    for (int attempt = 0; attempt < 2; ++attempt) {
      std::optional<MessageRow> row;
      {
        const ReadTxn txn(core.index);
        if (!core.index.entry(txn, mailbox, entry.id)) return fail(Errc::not_found, "the message is gone");
        row = core.index.message(txn, entry.id);
      }
      if (!row) return fail(Errc::corrupt, "an entry of a maildrop leads to no message");
      OpenMessage message;
      message.source = core.segments.get(row->segment);
      if (!message.source) continue;
      if (row->head_octets < record_header_octets || row->head_octets > record_header_octets + envelope_limit) break;
      auto space = scratch;
      if (row->head_octets > scratch.size()) {
        message.long_head.resize(row->head_octets);
        space = message.long_head;
      }
      message.stored_octets = row->stored_octets;
      message.body_at = row->body_offset;
      message.stuffed = row->stuffed;
      // Head and body lie together (but for a streamed message): one read brings both.
      const bool together = row->body_offset == row->head_offset + row->head_octets;
      const auto room = space.size() - row->head_octets;
      const auto body = static_cast<std::size_t>(std::min<std::uint64_t>({row->stored_octets, want, room}));
      const auto first = row->head_octets + (together ? body : 0);
      if (message.source->read(row->head_offset, space.first(first)) != first) continue;
      const std::string_view octets(space.data(), first);
      const auto header = decode_head(octets.substr(0, row->head_octets), core.identity.key);
      if (!header || header->id != entry.id || header->stored_octets != row->stored_octets) {
        core.segments.forget(row->segment);
        continue;
      }
      message.head = octets.substr(record_header_octets, header->envelope_octets);
      if (!together && message.source->read(row->body_offset, space.subspan(first, body)) != body) continue;
      message.prefix = {space.data() + row->head_octets, body};
      const auto lines = owner_lines(message.head, entry.ordinal);
      message.front = front_lines(lines.reverse_path, lines.delivered_to);
      return message;
    }
    core.warn("message " + format_id(entry.id) +
              " cannot be read: its record is not where the index says; run 'pennypost store check'");
    return fail(Errc::corrupt, "the record is not where the index says");
  });
}

Envelope OpenMessage::envelope() const {
  auto decoded = guarded([&]() -> Result<Envelope> { return decode_envelope(head); });
  return decoded ? std::move(*decoded) : Envelope{};
}

int OpenMessage::descriptor() const {
  return source->descriptor();
}
std::uint64_t OpenMessage::file_offset() const {
  return body_at;
}

Result<std::size_t> OpenMessage::read(std::uint64_t offset, std::span<char> out) const {
  return guarded([&]() -> Result<std::size_t> {
    if (offset >= stored_octets) return std::size_t{0};
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), stored_octets - offset));
    const auto got = source->read(body_at + offset, out.first(size));
    if (got != size) return fail(Errc::corrupt, "a segment ends inside a message");
    return got;
  });
}

}  // namespace mailstore

#include <mutex>
#include <utility>

#include "mailstore/committer.hpp"

/// What a commit means in the index: rows of a message's owners, and whatever else callers want changed.
namespace mailstore {

void Committer::apply_arrival(Change& change, Arrival& arrival, const MessageRow& given,
                              std::vector<Unproven>* unproven) {
  auto row = given;
  if (arrival.streamed) {
    const auto& at = arrival.streamed->body();
    row = MessageRow{.segment = at.segment,
                     .head_offset = at.head_offset,
                     .body_offset = at.body_offset,
                     .stored_octets = at.stored_octets,
                     .head_octets = at.head_octets,
                     .owners = 0,
                     .stuffed = arrival.facts.stuffed};
  }
  const auto& index = core_.index;
  Unproven mark{.id = arrival.id, .owners = {}};
  std::uint16_t ordinal = 0;
  for (const auto& owner : arrival.envelope.owners) {
    const auto place = ordinal++;
    if (!lmdb::get(change.txn(), index.tables().mailbox_numbers, MailboxKey(owner.mailbox))) {
      // Purged between RCPT and now: nobody is left to restore it for.
      change.journal().message(JournalKind::refused, owner.mailbox, arrival.id);
      continue;
    }
    const Entry entry{.id = arrival.id,
                      .octets = arrival.facts.octets + front_octets(arrival.envelope.reverse_path, owner.delivered_to),
                      .header_octets = arrival.facts.header_octets,
                      .ordinal = place};
    if (!change.add_entry(owner.mailbox, entry)) continue;
    ++row.owners;
    mark.owners.push_back(owner.mailbox);
  }
  ordinal = 0;
  for (const auto& remote : arrival.envelope.remotes) {
    const auto place = ordinal++;
    QueuedRecipient queued{
        .name = {queue_domain_of(remote.address), arrival.id, place},
        .address = remote.address,
        .reverse_path = remote.returns_to.empty() ? arrival.envelope.reverse_path : remote.returns_to,
        .server = arrival.envelope.server,
        .octets = arrival.facts.octets,
        .notify = remote.notify};
    if (!arrival.hold.empty()) {
      queued.state = QueueState::held;
      queued.reason = arrival.hold;
      queued.since = accepted_at(arrival.id);
    }
    if (!change.add_queued(queued)) continue;
    // A rebuild knows from the envelope that it waits, and from the journal alone that it is held.
    if (queued.state == QueueState::held) change.journal_queued(queued);
    ++row.owners;
    // The scheduler of this process is told of it behind the commit; another's has to look.
    if (!core_.schedules.load()) change.mark_changed(queued.name.domain);
  }
  if (row.owners == 0) {
    // Nobody is left to have it: its segment goes with the commit.
    if (arrival.streamed && !index.segment(change.txn(), row.segment)) change.drop_segment(row.segment);
    return;
  }
  if (arrival.streamed) {
    index.put_segment(change.txn(), row.segment,
                      SegmentRow{.state = SegmentState::sealed,
                                 .streamed = true,
                                 .durable = arrival.streamed->body().end,
                                 .last_batch = 1,
                                 .unproven = {}});
  }
  std::string value;
  encode(row, value);
  if (!lmdb::put(change.txn(), index.tables().messages, NumberKey(arrival.id.value), value, MDB_NOOVERWRITE)) {
    throw Failure(Errc::corrupt, "a message id was given twice");
  }
  change.segment_gained(row.segment, record_octets(row));
  if (unproven != nullptr) unproven->push_back(std::move(mark));
}

Result<void> Committer::apply_successor(Change& change, Arrival& arrival, const MessageRow& row) {
  return guarded([&]() -> Result<void> {
    lmdb::Txn nested(core_.index.env(), 0, change.txn());
    Change inner(core_.index, nested.get());
    if (!arrival.beside(inner)) return fail(Errc::not_found, "what it is to stand in the place of is gone");
    apply_arrival(inner, arrival, row, nullptr);
    inner.settle();
    nested.commit();
    change.adopt(std::move(inner));
    return {};
  });
}

void Committer::wake_scheduler(std::vector<QueueName> queued) {
  if (queued.empty()) return;
  const std::lock_guard hold(core_.scheduler.mutex);
  if (core_.scheduler.wake) core_.scheduler.wake(std::move(queued));
}

Result<void> Committer::apply_work(Change& change, Work& work) {
  if (!work.nested) return work.apply(change);
  return guarded([&]() -> Result<void> {
    lmdb::Txn nested(core_.index.env(), 0, change.txn());
    Change inner(core_.index, nested.get());
    auto result = work.apply(inner);
    if (!result) return result;
    inner.settle();
    nested.commit();
    change.adopt(std::move(inner));
    return {};
  });
}

}  // namespace mailstore

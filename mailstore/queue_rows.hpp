#pragma once

#include <string>
#include <string_view>

#include "mailstore/codec.hpp"
#include "mailstore/queue.hpp"

/// Keys and values of the queue's tables, as rows.hpp has those of the others. No value is longer than 2,000 octets:
/// what peers and people said is cut.
namespace mailstore {

inline constexpr std::size_t queue_domain_limit = 255;
inline constexpr std::size_t queue_address_limit = 320;

/// An address that has a domain, and is not longer than a row can say.
bool can_be_queued(std::string_view address);

// ---- keys

/// queue: domain NUL id ordinal.
std::string queue_key(const QueueName& name);
/// Throws Failure (corrupt).
QueueName parse_queue_key(std::string_view key);
/// What the keys of a domain's rows begin with, in `queue` and in `queue_due`.
std::string queue_prefix(std::string_view domain);

/// queue_ids: id ordinal; the value is the domain.
struct QueueIdKey {
  QueueIdKey(MessageId id, std::uint16_t ordinal);
  operator std::string_view() const { return {octets, sizeof octets}; }
  char octets[10];
};
struct QueueId {
  MessageId id;
  std::uint16_t ordinal = 0;
  friend auto operator<=>(const QueueId&, const QueueId&) = default;
};
QueueId parse_queue_id_key(std::string_view key);

/// queue_due: domain NUL due id ordinal; no value.
std::string queue_due_key(std::string_view domain, const DuePlace& place);
/// The place in a key of `domain`.
DuePlace parse_queue_due_key(std::string_view domain, std::string_view key);

/// done: time id ordinal.
std::string done_key(const DonePlace& place);
DonePlace parse_done_key(std::string_view key);

// ---- values

void encode(const QueuedRecipient& row, std::string& out);
QueuedRecipient decode_queued(QueueName name, std::string_view value);

/// `next_due` is not stored.
void encode(const QueueDomain& row, std::string& out);
QueueDomain decode_queue_domain(std::string_view name, std::string_view value);

void encode(const DoneRecipient& row, std::string& out);
DoneRecipient decode_done(const DonePlace& place, std::string_view value);

/// `changes` stands apart.
void encode(const QueueStatus& row, std::string& out);
QueueStatus decode_queue_status(std::string_view value);

// ---- what a row means

/// Under which time a row stands in queue_due; none: not at all.
inline Time due_alone(const QueuedRecipient& row) {
  if (row.state == QueueState::held) return no_time;
  return row.state == QueueState::bounce ? bounce_time : row.due;
}

}  // namespace mailstore

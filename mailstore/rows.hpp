#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mailstore/codec.hpp"
#include "mailstore/directory.hpp"
#include "mailstore/types.hpp"

/// Keys and values of the index's tables. Every value begins with its version; a value of the wrong size or an unknown
/// version is `corrupt`. ARCHITECTURE.md has the tables.
namespace mailstore {

// ---- keys

/// maildrop: mailbox, id. The greatest id is the key of the mailbox's totals, so one leaf serves both.
inline constexpr std::uint64_t totals_id = ~std::uint64_t{0};
struct MaildropKey {
  MaildropKey(MailboxNumber mailbox, std::uint64_t id);
  operator std::string_view() const { return {octets, sizeof octets}; }
  char octets[12];
};
struct NumberKey {
  explicit NumberKey(std::uint64_t number);
  operator std::string_view() const { return {octets, sizeof octets}; }
  char octets[8];
};
struct MailboxKey {
  explicit MailboxKey(MailboxNumber number);
  operator std::string_view() const { return {octets, sizeof octets}; }
  char octets[4];
};
/// "local@domain" to "domain NUL local": addresses of a domain lie together. The last @ divides.
std::string address_key(std::string_view address);
std::string address_of(std::string_view key);

// ---- values

struct MessageRow {
  std::uint64_t segment = 0;
  std::uint64_t head_offset = 0;
  std::uint64_t body_offset = 0;
  std::uint64_t stored_octets = 0;
  std::uint32_t head_octets = 0;
  std::uint32_t owners = 0;  ///< left
  bool stuffed = false;
};
void encode(const MessageRow& row, std::string& out);
MessageRow decode_message(std::string_view value);

/// taken: the name of what a message was made of, to the message.
inline constexpr std::size_t origin_limit = 400;  ///< octets; LMDB's keys have 511
void encode_taken(MessageId id, std::string& out);
MessageId decode_taken(std::string_view value);

void encode(const Entry& entry, std::string& out);
Entry decode_entry(MessageId id, std::string_view value);

void encode(const Totals& totals, std::string& out);
Totals decode_totals(std::string_view value);

enum class SegmentState : std::uint8_t { open = 1, sealed = 2 };

/// A message whose commit began before its octets were known to be synced (overlapped commit). While it stands in the
/// segment's row, recovery checks its record before it believes in it.
struct Unproven {
  MessageId id;
  std::vector<MailboxNumber> owners;
};
struct SegmentRow {
  SegmentState state = SegmentState::open;
  bool streamed = false;
  std::uint64_t durable = 0;  ///< octets known to be on stable storage when the commit began
  std::uint64_t live_records = 0;
  std::uint64_t live_octets = 0;
  std::uint32_t last_batch = 0;
  std::vector<Unproven> unproven;
};
void encode(const SegmentRow& row, std::string& out);
SegmentRow decode_segment(std::string_view value);

void encode(const Domain& domain, std::string& out);
Domain decode_domain(std::string_view name, std::string_view value);

/// A mailbox as its table keeps it; `removed` ones wait for restore or purge.
struct MailboxRow {
  Mailbox mailbox;
  bool removed = false;
  std::uint64_t removed_at = 0;
};
void encode(const MailboxRow& row, std::string& out);
MailboxRow decode_mailbox(std::string_view key, std::string_view value);

void encode(const Alias& alias, std::string& out);
Alias decode_alias(std::string_view key, std::string_view value);

}  // namespace mailstore

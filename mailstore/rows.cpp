#include "mailstore/rows.hpp"

#include <utility>

namespace mailstore {
namespace {
constexpr std::uint8_t row_version = 1;
// Of an entry that says when its message was retrieved; any other stays as short as it was.
constexpr std::uint8_t retrieved_entry_version = 2;
constexpr std::uint8_t flag_a = 1;
// Version 2 of domains has quota, catch-all and plus addressing, version 3 the settings of a remote one, which others
// do not carry.
constexpr std::uint8_t domain_version = 3;
// Version 2 of mailboxes tells a quota of none from no quota of its own, version 3 has a secret for APOP, version 4
// what it may send as.
constexpr std::uint8_t mailbox_version = 4;
constexpr std::uint8_t flag_locked = 1, flag_removed = 2, flag_no_plus = 4, flag_quota = 8;
constexpr std::uint8_t flag_relay = 1, flag_no_esmtp = 2;  // of the settings of a remote domain

template <std::unsigned_integral T>
void store_key(T value, char* to) {
  char raw[sizeof(T)];
  big_endian_into(value, raw);
  std::memcpy(to, raw, sizeof raw);
}
}  // namespace

MaildropKey::MaildropKey(MailboxNumber mailbox, std::uint64_t id) {
  store_key(std::to_underlying(mailbox), octets);
  store_key(id, octets + 4);
}
NumberKey::NumberKey(std::uint64_t number) {
  store_key(number, octets);
}
MailboxKey::MailboxKey(MailboxNumber number) {
  store_key(std::to_underlying(number), octets);
}

std::string address_key(std::string_view address) {
  const auto at = address.rfind('@');
  std::string key;
  if (at == std::string_view::npos) return key.append(1, '\0').append(address);
  key.reserve(address.size());
  key.append(address.substr(at + 1)).append(1, '\0').append(address.substr(0, at));
  return key;
}

std::string address_of(std::string_view key) {
  const auto divide = key.find('\0');
  if (divide == std::string_view::npos) return std::string(key);
  std::string address(key.substr(divide + 1));
  return address.append(1, '@').append(key.substr(0, divide));
}

void encode(const MessageRow& row, std::string& out) {
  Encoder to(out);
  to.number(row_version).number(static_cast<std::uint8_t>(row.stuffed ? flag_a : 0));
  to.number(row.segment).number(row.head_offset).number(row.body_offset).number(row.stored_octets);
  to.number(row.head_octets).number(row.owners);
}

MessageRow decode_message(std::string_view value) {
  Decoder from(value, "row of a message");
  from.version(row_version);
  MessageRow row;
  row.stuffed = (from.number<std::uint8_t>() & flag_a) != 0;
  row.segment = from.number<std::uint64_t>();
  row.head_offset = from.number<std::uint64_t>();
  row.body_offset = from.number<std::uint64_t>();
  row.stored_octets = from.number<std::uint64_t>();
  row.head_octets = from.number<std::uint32_t>();
  row.owners = from.number<std::uint32_t>();
  from.end();
  return row;
}

void encode_taken(MessageId id, std::string& out) {
  Encoder(out).number(std::uint8_t{1}).number(id.value);
}

MessageId decode_taken(std::string_view value) {
  Decoder in(value, "row of what was taken");
  in.version(1);
  const MessageId id{in.number<std::uint64_t>()};
  in.end();
  return id;
}

void encode(const Entry& entry, std::string& out) {
  Encoder to(out);
  to.number(entry.retrieved != 0 ? retrieved_entry_version : row_version).number(std::uint8_t{0}).number(entry.ordinal);
  to.number(static_cast<std::uint32_t>(entry.header_octets)).number(entry.octets).number(entry.arrival);
  if (entry.retrieved != 0) to.number(entry.retrieved);
}

Entry decode_entry(MessageId id, std::string_view value) {
  Decoder from(value, "entry of a maildrop");
  const auto version = from.version(retrieved_entry_version);
  from.number<std::uint8_t>();
  Entry entry{.id = id};
  entry.ordinal = from.number<std::uint16_t>();
  entry.header_octets = from.number<std::uint32_t>();
  entry.octets = from.number<std::uint64_t>();
  entry.arrival = from.number<std::uint64_t>();
  if (version >= retrieved_entry_version) entry.retrieved = from.number<std::uint64_t>();
  from.end();
  return entry;
}

void encode(const Totals& totals, std::string& out) {
  Encoder(out).number(row_version).number(totals.messages).number(totals.octets).number(totals.arrivals);
}

Totals decode_totals(std::string_view value) {
  Decoder from(value, "totals of a maildrop");
  from.version(row_version);
  Totals totals;
  totals.messages = from.number<std::uint64_t>();
  totals.octets = from.number<std::uint64_t>();
  totals.arrivals = from.number<std::uint64_t>();
  from.end();
  return totals;
}

void encode(const SegmentRow& row, std::string& out) {
  Encoder to(out);
  to.number(row_version)
      .number(std::to_underlying(row.state))
      .number(static_cast<std::uint8_t>(row.streamed ? flag_a : 0));
  to.number(row.durable).number(row.live_records).number(row.live_octets).number(row.last_batch);
  to.number(static_cast<std::uint32_t>(row.unproven.size()));
  for (const auto& one : row.unproven) {
    to.number(one.id.value).number(static_cast<std::uint32_t>(one.owners.size()));
    for (const auto owner : one.owners) to.number(std::to_underlying(owner));
  }
}

SegmentRow decode_segment(std::string_view value) {
  Decoder from(value, "row of a segment");
  from.version(row_version);
  SegmentRow row;
  row.state = static_cast<SegmentState>(from.number<std::uint8_t>());
  if (row.state != SegmentState::open && row.state != SegmentState::sealed) from.broken("has an unknown state");
  row.streamed = (from.number<std::uint8_t>() & flag_a) != 0;
  row.durable = from.number<std::uint64_t>();
  row.live_records = from.number<std::uint64_t>();
  row.live_octets = from.number<std::uint64_t>();
  row.last_batch = from.number<std::uint32_t>();
  const auto count = from.number<std::uint32_t>();
  for (std::uint32_t i = 0; i < count; ++i) {
    Unproven one{.id = MessageId{from.number<std::uint64_t>()}, .owners = {}};
    const auto owners = from.number<std::uint32_t>();
    for (std::uint32_t k = 0; k < owners; ++k) one.owners.push_back(MailboxNumber{from.number<std::uint32_t>()});
    row.unproven.push_back(std::move(one));
  }
  from.end();
  return row;
}

namespace {

void encode(const RemoteSettings& remote, Encoder& to) {
  to.number(static_cast<std::uint8_t>((remote.allow_relay ? flag_relay : 0) | (remote.no_esmtp ? flag_no_esmtp : 0)));
  to.number(static_cast<std::uint8_t>(remote.security ? std::to_underlying(*remote.security) : 0));
  to.text(remote.route).text(remote.username).text(remote.password);
  to.number(remote.rate).number(remote.connections);
}

RemoteSettings decode_remote(Decoder& from) {
  RemoteSettings remote;
  const auto flags = from.number<std::uint8_t>();
  remote.allow_relay = (flags & flag_relay) != 0;
  remote.no_esmtp = (flags & flag_no_esmtp) != 0;
  if (const auto security = from.number<std::uint8_t>(); security != 0) {
    remote.security = static_cast<Security>(security);
    if (*remote.security > Security::verify) from.broken("asks for an unknown security");
  }
  remote.route = from.text();
  remote.username = from.text();
  remote.password = from.text();
  remote.rate = from.number<std::uint32_t>();
  remote.connections = from.number<std::uint32_t>();
  return remote;
}

}  // namespace

void encode(const Domain& domain, std::string& out) {
  Encoder to(out);
  const auto flags = (domain.locked ? flag_locked : 0) | (domain.plus_addressing ? 0 : flag_no_plus);
  to.number(domain_version).number(std::to_underlying(domain.kind)).number(static_cast<std::uint8_t>(flags));
  to.number(domain.created).text(domain.alias_of);
  to.number(domain.quota_octets).text(domain.catch_all);
  if (domain.kind == DomainKind::remote) encode(domain.remote, to);
}

Domain decode_domain(std::string_view name, std::string_view value) {
  Decoder from(value, "row of a domain");
  const auto version = from.version(domain_version);
  Domain domain{.name = std::string(name)};
  domain.kind = static_cast<DomainKind>(from.number<std::uint8_t>());
  if (domain.kind < DomainKind::local || domain.kind > DomainKind::drop) from.broken("has an unknown kind");
  const auto flags = from.number<std::uint8_t>();
  domain.locked = (flags & flag_locked) != 0;
  domain.plus_addressing = (flags & flag_no_plus) == 0;
  domain.created = from.number<std::uint64_t>();
  domain.alias_of = from.text();
  if (version >= 2) {
    domain.quota_octets = from.number<std::uint64_t>();
    domain.catch_all = from.text();
  }
  if (version >= 3 && domain.kind == DomainKind::remote) domain.remote = decode_remote(from);
  from.end();
  return domain;
}

void encode(const MailboxRow& row, std::string& out) {
  const auto& box = row.mailbox;
  Encoder to(out);
  to.number(mailbox_version);
  to.number(static_cast<std::uint8_t>((box.locked ? flag_locked : 0) | (row.removed ? flag_removed : 0) |
                                      (box.quota_octets ? flag_quota : 0)));
  to.number(std::to_underlying(box.number)).number(box.created).number(row.removed_at);
  to.number(box.quota_octets.value_or(0)).number(box.quota_messages).number(box.credential.version);
  to.text(box.display).text(box.credential.password_hash).text(box.credential.scram_sha256);
  to.text(box.apop_secret);
  to.number(static_cast<std::uint8_t>(box.send_as.size()));
  for (const auto& grant : box.send_as) to.text(grant);
}

MailboxRow decode_mailbox(std::string_view key, std::string_view value) {
  Decoder from(value, "row of a mailbox");
  const auto version = from.version(mailbox_version);
  MailboxRow row;
  auto& box = row.mailbox;
  box.address = address_of(key);
  const auto flags = from.number<std::uint8_t>();
  box.locked = (flags & flag_locked) != 0;
  row.removed = (flags & flag_removed) != 0;
  box.number = MailboxNumber{from.number<std::uint32_t>()};
  box.created = from.number<std::uint64_t>();
  row.removed_at = from.number<std::uint64_t>();
  const auto quota = from.number<std::uint64_t>();
  if (version >= 2 ? (flags & flag_quota) != 0 : quota != 0) box.quota_octets = quota;
  box.quota_messages = from.number<std::uint64_t>();
  box.credential.version = from.number<std::uint64_t>();
  box.display = from.text();
  box.credential.password_hash = from.text();
  box.credential.scram_sha256 = from.text();
  if (version >= 3) box.apop_secret = from.text();
  const auto grants = version >= 4 ? from.number<std::uint8_t>() : std::uint8_t{0};
  for (std::uint8_t i = 0; i < grants; ++i) box.send_as.emplace_back(from.text());
  from.end();
  return row;
}

void encode(const Alias& alias, std::string& out) {
  Encoder to(out);
  to.number(row_version).number(static_cast<std::uint32_t>(alias.targets.size()));
  for (const auto& target : alias.targets) to.text(target);
}

Alias decode_alias(std::string_view key, std::string_view value) {
  Decoder from(value, "row of an alias");
  from.version(row_version);
  Alias alias{.address = address_of(key), .targets = {}};
  const auto count = from.number<std::uint32_t>();
  for (std::uint32_t i = 0; i < count; ++i) alias.targets.emplace_back(from.text());
  from.end();
  return alias;
}

}  // namespace mailstore

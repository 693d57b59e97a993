#include "mailstore/queue_rows.hpp"

#include <utility>

namespace mailstore {
namespace {

constexpr std::uint8_t row_version = 1;
constexpr std::uint8_t placing_row_version = 2;  // of a recipient's row that says where it is being placed
constexpr std::uint8_t flag_noticed = 1, flag_suspended = 1, flag_held = 1;
constexpr std::size_t text_limit = 400, enhanced_limit = 16, peer_limit = 255, tls_limit = 80, reason_limit = 160,
                      reverse_path_limit = 256, server_limit = 64, reroute_limit = 262;

template <std::unsigned_integral T>
void append_key(std::string& key, T value) {
  char raw[sizeof(T)];
  key.append(big_endian_into(value, raw));
}

/// Never in the midst of a UTF-8 character.
std::string_view cut(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return text;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0U) == 0x80U) --limit;
  return text.substr(0, limit);
}

std::uint64_t micros(Time time) {
  return static_cast<std::uint64_t>(time.time_since_epoch().count());
}
Time time_of(std::uint64_t micros) {
  return Time{std::chrono::microseconds{static_cast<std::int64_t>(micros)}};
}

/// The same in every row: short, and with room for what a later version says of an attempt.
class Words {
 public:
  explicit Words(std::string& out) : out_(out), to_(out) {}
  Words& text(std::string_view value, std::size_t limit) {
    value = cut(value, limit);
    to_.number(static_cast<std::uint16_t>(value.size()));
    out_.append(value);
    return *this;
  }
  Words& attempt(const Attempt& attempt) {
    to_.number(micros(attempt.at)).number(attempt.answer.code);
    return text(attempt.answer.enhanced, enhanced_limit)
        .text(attempt.answer.text, text_limit)
        .text(attempt.peer, peer_limit)
        .text(attempt.tls, tls_limit);
  }

 private:
  std::string& out_;
  Encoder to_;
};

std::string short_text(Decoder& from) {
  return std::string(from.octets(from.number<std::uint16_t>()));
}
Time time_in(Decoder& from) {
  return time_of(from.number<std::uint64_t>());
}

Attempt attempt_in(Decoder& from) {
  Attempt attempt;
  attempt.at = time_in(from);
  attempt.answer.code = from.number<std::uint16_t>();
  attempt.answer.enhanced = short_text(from);
  attempt.answer.text = short_text(from);
  attempt.peer = short_text(from);
  attempt.tls = short_text(from);
  return attempt;
}

[[noreturn]] void bad_key(const char* what) {
  throw Failure(Errc::corrupt, std::string("a key of the table ") + what + " is no such key");
}

}  // namespace

std::string queue_domain_of(std::string_view address) {
  const auto at = address.rfind('@');
  std::string domain(at == std::string_view::npos ? std::string_view() : address.substr(at + 1));
  for (auto& letter : domain) {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  return domain;
}

bool can_be_queued(std::string_view address) {
  const auto at = address.rfind('@');
  if (at == std::string_view::npos || address.size() > queue_address_limit) return false;
  const auto domain = address.substr(at + 1);
  return !domain.empty() && domain.size() <= queue_domain_limit && domain.find('\0') == std::string_view::npos;
}

Time accepted_at(MessageId id) {
  return Time{std::chrono::sys_days{std::chrono::year{2020} / std::chrono::January / 1}} +
         std::chrono::microseconds{id.value >> 12U};
}

std::string queue_prefix(std::string_view domain) {
  return std::string(domain) + '\0';
}

std::string queue_key(const QueueName& name) {
  std::string key;
  key.reserve(name.domain.size() + 11);
  key.append(name.domain).append(1, '\0');
  append_key(key, name.id.value);
  append_key(key, name.ordinal);
  return key;
}

QueueName parse_queue_key(std::string_view key) {
  const auto divide = key.find('\0');
  if (divide == std::string_view::npos || key.size() != divide + 11) bad_key("queue");
  const char* rest = key.data() + divide + 1;
  return {.domain = std::string(key.substr(0, divide)),
          .id = MessageId{from_big_endian<std::uint64_t>(rest)},
          .ordinal = from_big_endian<std::uint16_t>(rest + 8)};
}

QueueIdKey::QueueIdKey(MessageId id, std::uint16_t ordinal) {
  char raw[8];
  std::memcpy(octets, big_endian_into(id.value, raw).data(), 8);
  char low[2];
  std::memcpy(octets + 8, big_endian_into(ordinal, low).data(), 2);
}

QueueId parse_queue_id_key(std::string_view key) {
  if (key.size() != 10) bad_key("queue_ids");
  return {.id = MessageId{from_big_endian<std::uint64_t>(key.data())},
          .ordinal = from_big_endian<std::uint16_t>(key.data() + 8)};
}

std::string queue_due_key(std::string_view domain, const DuePlace& place) {
  std::string key = queue_prefix(domain);
  append_key(key, micros(place.due));
  append_key(key, place.id.value);
  append_key(key, place.ordinal);
  return key;
}

DuePlace parse_queue_due_key(std::string_view domain, std::string_view key) {
  if (key.size() != domain.size() + 19) bad_key("queue_due");
  const char* rest = key.data() + domain.size() + 1;
  return {.due = time_of(from_big_endian<std::uint64_t>(rest)),
          .id = MessageId{from_big_endian<std::uint64_t>(rest + 8)},
          .ordinal = from_big_endian<std::uint16_t>(rest + 16)};
}

std::string done_key(const DonePlace& place) {
  std::string key;
  append_key(key, micros(place.at));
  append_key(key, place.id.value);
  append_key(key, place.ordinal);
  return key;
}

DonePlace parse_done_key(std::string_view key) {
  if (key.size() != 18) bad_key("done");
  return {.at = time_of(from_big_endian<std::uint64_t>(key.data())),
          .id = MessageId{from_big_endian<std::uint64_t>(key.data() + 8)},
          .ordinal = from_big_endian<std::uint16_t>(key.data() + 16)};
}

void encode(const QueuedRecipient& row, std::string& out) {
  Encoder to(out);
  to.number(row.placing.empty() ? row_version : placing_row_version).number(std::to_underlying(row.state));
  to.number(static_cast<std::uint8_t>(row.delay_noticed ? flag_noticed : 0)).number(row.notify);
  to.number(row.octets).number(row.attempts).number(micros(row.due)).number(micros(row.since));
  Words(out)
      .text(row.address, queue_address_limit)
      .text(row.reverse_path, reverse_path_limit)
      .text(row.server, server_limit)
      .attempt(row.last)
      .text(row.reroute, reroute_limit)
      .text(row.reason, reason_limit);
  if (!row.placing.empty()) Words(out).text(row.placing, placing_limit);
}

QueuedRecipient decode_queued(QueueName name, std::string_view value) {
  Decoder from(value, "row of a recipient in the queue");
  const auto version = from.version(placing_row_version);
  QueuedRecipient row{.name = std::move(name)};
  row.state = static_cast<QueueState>(from.number<std::uint8_t>());
  if (row.state < QueueState::waiting || row.state > QueueState::bounce) from.broken("has an unknown state");
  row.delay_noticed = (from.number<std::uint8_t>() & flag_noticed) != 0;
  row.notify = from.number<std::uint8_t>();
  row.octets = from.number<std::uint64_t>();
  row.attempts = from.number<std::uint32_t>();
  row.due = time_in(from);
  row.since = time_in(from);
  row.address = short_text(from);
  row.reverse_path = short_text(from);
  row.server = short_text(from);
  row.last = attempt_in(from);
  row.reroute = short_text(from);
  row.reason = short_text(from);
  if (version == placing_row_version) row.placing = short_text(from);
  from.end();
  return row;
}

void encode(const QueueDomain& row, std::string& out) {
  Encoder to(out);
  to.number(row_version).number(static_cast<std::uint8_t>(row.suspended ? flag_suspended : 0));
  to.number(row.waiting).number(row.held).number(row.bounces).number(row.due_alone);
  to.number(micros(row.next_round)).number(row.failed_rounds).number(micros(row.first_failure));
  to.number(micros(row.since)).number(row.changed);
  Words(out).attempt(row.last).text(row.reason, reason_limit);
}

QueueDomain decode_queue_domain(std::string_view name, std::string_view value) {
  Decoder from(value, "row of a domain in the queue");
  from.version(row_version);
  QueueDomain row{.name = std::string(name)};
  row.suspended = (from.number<std::uint8_t>() & flag_suspended) != 0;
  row.waiting = from.number<std::uint64_t>();
  row.held = from.number<std::uint64_t>();
  row.bounces = from.number<std::uint64_t>();
  row.due_alone = from.number<std::uint64_t>();
  row.next_round = time_in(from);
  row.failed_rounds = from.number<std::uint32_t>();
  row.first_failure = time_in(from);
  row.since = time_in(from);
  row.changed = from.number<std::uint64_t>();
  row.last = attempt_in(from);
  row.reason = short_text(from);
  from.end();
  return row;
}

void encode(const DoneRecipient& row, std::string& out) {
  Encoder to(out);
  to.number(row_version).number(std::to_underlying(row.outcome)).number(row.attempts).number(row.successor.value);
  Words(out)
      .text(row.address, queue_address_limit)
      .text(row.reverse_path, reverse_path_limit)
      .text(row.server, server_limit)
      .attempt(row.last);
}

DoneRecipient decode_done(const DonePlace& place, std::string_view value) {
  Decoder from(value, "record of a recipient that left the queue");
  from.version(row_version);
  DoneRecipient row{.at = place.at, .name = {.domain = {}, .id = place.id, .ordinal = place.ordinal}};
  row.outcome = static_cast<QueueOutcome>(from.number<std::uint8_t>());
  if (row.outcome < QueueOutcome::delivered || row.outcome > QueueOutcome::deleted)
    from.broken("has an unknown outcome");
  row.attempts = from.number<std::uint32_t>();
  row.successor = MessageId{from.number<std::uint64_t>()};
  row.address = short_text(from);
  row.reverse_path = short_text(from);
  row.server = short_text(from);
  row.last = attempt_in(from);
  from.end();
  row.name.domain = queue_domain_of(row.address);
  return row;
}

void encode(const QueueStatus& row, std::string& out) {
  Encoder(out)
      .number(row_version)
      .number(static_cast<std::uint8_t>(row.held ? flag_held : 0))
      .number(micros(row.since));
  Words(out).text(row.reason, reason_limit);
}

QueueStatus decode_queue_status(std::string_view value) {
  Decoder from(value, "row of the queue");
  from.version(row_version);
  QueueStatus row;
  row.held = (from.number<std::uint8_t>() & flag_held) != 0;
  row.since = time_in(from);
  row.reason = short_text(from);
  from.end();
  return row;
}

}  // namespace mailstore

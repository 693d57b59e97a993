#include "smtpd/routing/srs.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "common/auth/mac.hpp"

namespace smtpd::routing {
namespace {

constexpr std::string_view separators = "=+-";
/// Letters keep their meaning where a server on the way changes their case.
constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// 30 bits: nobody guesses that with one RCPT each.
constexpr std::size_t hash_letters = 6;
constexpr std::int64_t day_cycle = 1024;

char lowered(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
/// Only ASCII: what else a server on the way may change is not ours to know.
std::string lowered(std::string_view text) {
  std::string out{text};
  std::ranges::transform(out, out.begin(), [](char c) { return lowered(c); });
  return out;
}

std::string hash_of(std::string_view key, std::string_view kind, std::string_view first, std::string_view second,
                    std::string_view third) {
  const auto mac = common::auth::make_mac(key, {kind, lowered(first), lowered(second), lowered(third)});
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < 4; ++i) bits = bits << 8U | mac[i];
  std::string letters;
  for (std::size_t i = 0; i < hash_letters; ++i) letters += alphabet[bits >> (27 - 5 * i) & 31U];
  return letters;
}

std::string format_day(std::chrono::sys_days day) {
  const auto number = static_cast<std::size_t>(day.time_since_epoch().count() % day_cycle);
  return {alphabet[number >> 5U], alphabet[number & 31U]};
}

std::optional<std::int64_t> parse_day(std::string_view text) {
  if (text.size() != 2) return std::nullopt;
  std::int64_t number = 0;
  for (const char c : lowered(text)) {
    const auto at = c >= 'a' && c <= 'z' ? static_cast<std::size_t>(c - 'a') : alphabet.find(c);
    if (at == alphabet.npos) return std::nullopt;
    number = number * 32 + static_cast<std::int64_t>(at);
  }
  return number;
}

/// What stands up to the next "=", which is taken too; nullopt: there is none.
std::optional<std::string_view> take_field(std::string_view& text) {
  const auto end = text.find('=');
  if (end == text.npos) return std::nullopt;
  const auto field = text.substr(0, end);
  text.remove_prefix(end + 1);
  return field;
}

bool begins(std::string_view local, char kind) {
  return local.size() > 5 && lowered(local.substr(0, 3)) == "srs" && local[3] == kind && separators.contains(local[4]);
}

/// The parts of an SRS1 behind "SRS1=": hash, the host that made the SRS0, what follows "SRS0" there.
struct Chained {
  std::string_view hash, host, rest;
};
std::optional<Chained> parse_chained(std::string_view local) {
  local.remove_prefix(5);
  const auto hash = take_field(local);
  const auto host = hash ? take_field(local) : std::nullopt;
  if (!host || host->empty() || local.size() < 2 || !separators.contains(local.front())) return std::nullopt;
  return Chained{*hash, *host, local};
}

common::Address make_address(std::string local, std::string_view domain) {
  common::Address address;
  address.ascii = std::ranges::all_of(local, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  address.local = std::move(local);
  address.domain = domain;
  return address;
}

std::string chained(std::string_view key, std::string_view host, std::string_view rest) {
  std::string local = "SRS1=" + hash_of(key, "SRS1", host, rest, {}) + '=';
  local += host;
  local += '=';
  local += rest;
  return local;
}

}  // namespace

bool Srs::has_form(std::string_view local) {
  return begins(local, '0') || begins(local, '1');
}

common::Address Srs::forward(const common::Address& sender, std::string_view ours, std::chrono::sys_days today) const {
  const std::string_view domain = terms_.domain.empty() ? ours : std::string_view{terms_.domain};
  const auto& key = terms_.keys.front();
  const std::string_view local = sender.local;
  if (begins(local, '0')) return make_address(chained(key, sender.domain, local.substr(4)), domain);
  if (begins(local, '1')) {
    if (const auto parts = parse_chained(local)) return make_address(chained(key, parts->host, parts->rest), domain);
  }
  const auto day = format_day(today);
  std::string made = "SRS0=" + hash_of(key, "SRS0", day, sender.domain, local) + '=' + day + '=';
  made += sender.domain;
  made += '=';
  made += local;
  return make_address(std::move(made), domain);
}

bool Srs::is_ours(std::string_view hash, std::string_view kind, std::string_view first, std::string_view second,
                  std::string_view third) const {
  const auto given = lowered(hash);
  return std::ranges::any_of(
      terms_.keys, [&](const std::string& key) { return given == lowered(hash_of(key, kind, first, second, third)); });
}

std::expected<common::Address, Srs::Fault> Srs::back(const common::Address& address,
                                                     std::chrono::sys_days today) const {
  std::string_view rest = address.local;
  common::Address found;
  if (begins(rest, '1')) {
    const auto parts = parse_chained(rest);
    if (!parts || !is_ours(parts->hash, "SRS1", parts->host, parts->rest, {})) return std::unexpected(Fault::forged);
    found = make_address("SRS0" + std::string{parts->rest}, parts->host);
  } else {
    if (!begins(rest, '0')) return std::unexpected(Fault::forged);
    rest.remove_prefix(5);
    const auto hash = take_field(rest);
    const auto day = hash ? take_field(rest) : std::nullopt;
    const auto domain = day ? take_field(rest) : std::nullopt;
    if (!domain || rest.empty() || !is_ours(*hash, "SRS0", *day, *domain, rest)) return std::unexpected(Fault::forged);
    const auto made = parse_day(*day);
    if (!made) return std::unexpected(Fault::forged);
    const auto now = today.time_since_epoch().count() % day_cycle;
    const auto age = (now - *made + day_cycle) % day_cycle;
    // Made by a clock that is a day ahead of ours: fine.
    if (age > terms_.max_age.count() && age != day_cycle - 1) return std::unexpected(Fault::expired);
    found = make_address(std::string{rest}, *domain);
  }
  // We made it of an address once; what a server on the way made of it need not be one.
  auto checked = common::parse_address(common::format_address(found));
  if (!checked || checked->domain.empty()) return std::unexpected(Fault::forged);
  return std::move(*checked);
}

}  // namespace smtpd::routing

#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "common/config/document.hpp"
#include "common/config/keys.hpp"

/// Between the values of a TOML text and the members of Config, one key at a time.
namespace common::config {

/// A mistake in a value: Mistake without what the caller knows.
struct Wrong {
  std::uint32_t line = 0;
  std::string what;
  std::string remedy;
};

/// Reads `node` into `slot` as `key` says. Type, range and form are checked, and that nothing is chosen that does not
/// work yet. After a mistake the slot holds what it held, or the part of a list that was right.
std::vector<Wrong> read_value(const Key& key, const Node& node, const Slot& slot);
/// What the slot holds as TOML that read_value takes. An empty slot has the form of the key's default.
std::string format_value(const Key& key, const Slot& slot);

/// "50MB", "1024", "0"; "5m". Error: what it is not, in a few words.
std::expected<Octets, std::string> parse_size(std::string_view text);
std::expected<Duration, std::string> parse_time(std::string_view text);
std::string format_size(Octets octets);
std::string format_time(Duration time);

/// One entry of `listen`. Error: what is wrong and what to write.
std::expected<Listen, Wrong> parse_listen(std::string_view text);
/// One entry of a list of servers to connect to: "192.0.2.53:53", "[2001:db8::53]:53". Error: as above.
std::expected<std::string, Wrong> parse_server(std::string_view text);
/// One entry of a list of filters, as Sendmail and Postfix write them: "inet:8891@127.0.0.1", "inet:8891@localhost",
/// "inet6:8891@::1", "unix:/run/filter.sock" ("local:" is the same). Error: as above.
std::expected<FilterPlace, Wrong> parse_filter(std::string_view text);
/// An address that only this machine reaches: 127.0.0.0/8, ::1, a Unix socket.
bool is_loopback(const Listen& listen);
/// True if both cannot be bound at the same time: the same place, or one is the wildcard of the other's family and
/// port.
bool overlap(const Listen& one, const Listen& other);

}  // namespace common::config

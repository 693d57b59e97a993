#pragma once

#include <asio/ip/address.hpp>
#include <chrono>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// What the DNS answers, as values. No I/O.
namespace common::dns {

enum class Type : std::uint16_t { a = 1, ptr = 12, mx = 15, aaaa = 28 };  // RFC 1035 3.2.2, RFC 3596 2.1

struct MailExchanger {
  std::uint16_t preference = 0;
  std::string host;  ///< empty: "." (RFC 7505)
  friend bool operator==(const MailExchanger&, const MailExchanger&) = default;
};

/// Why there are no records.
enum class Errc : std::uint8_t {
  no_name,    ///< NXDOMAIN
  no_data,    ///< the name is there, and has none of this type
  malformed,  ///< there are records, and none that we could use
  bogus,      ///< DNSSEC says that the answer is not the zone's
  temporary,  ///< SERVFAIL, no server reached, too many lookups under way
  timeout,    ///< [dns] timeout is over
  cancelled,  ///< by the caller, or the resolver is gone
};
struct Error {
  Errc code = Errc::temporary;
  std::string detail;  ///< for the log
};
/// The question is settled: asked again it has the same answer. Else somebody should ask later.
constexpr bool is_settled(Errc code) {
  return code == Errc::no_name || code == Errc::no_data || code == Errc::malformed;
}

/// Records of one type; never empty. More of them than `most_records` are left out.
template <class T>
struct Answer {
  std::vector<T> records;
  std::string name;     ///< behind all CNAMEs; empty where that is no host name
  bool secure = false;  ///< validated by DNSSEC
  std::chrono::seconds ttl{};
};
template <class T>
using Result = std::expected<Answer<T>, Error>;
inline constexpr std::size_t most_records = 100;

/// Wire form of a record's data (RFC 1035 3.3, 3.4) to its value; nullopt if it is none, or names something that is no
/// host name.
std::optional<asio::ip::address> parse_address(Type type, std::string_view rdata);
std::optional<MailExchanger> parse_exchanger(std::string_view rdata);
std::optional<std::string> parse_pointer(std::string_view rdata);

/// RFC 7505 3: one record that names the root. The domain takes no mail.
bool is_null_mx(const std::vector<MailExchanger>& exchangers);

/// The answer with its records parsed.
template <class T, class Parse>
Result<T> parse_records(Result<std::string> raw, Parse parse) {
  if (!raw) return std::unexpected(std::move(raw.error()));
  Answer<T> answer{{}, std::move(raw->name), raw->secure, raw->ttl};
  for (const auto& rdata : raw->records) {
    if (auto record = parse(rdata)) answer.records.push_back(std::move(*record));
  }
  if (answer.records.empty()) return std::unexpected(Error{Errc::malformed, "no record that could be used"});
  return answer;
}

}  // namespace common::dns

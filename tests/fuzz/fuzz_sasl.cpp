// Every mechanism, fed with whatever a client may send: the first octet chooses the mechanism and the account, a
// newline separates messages.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "common/auth/sasl.hpp"
#include "common/auth/scram.hpp"

using namespace common::auth;

namespace {

const StoredKeys& known() {
  static const StoredKeys keys{1, "", format_scram(derive_scram("pencil", "0123456789abcdef", 4096)), "pencil"};
  return keys;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  constexpr std::array<std::string_view, 4> mechanisms{"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"};
  std::string_view octets{reinterpret_cast<const char*>(data) + 1, size - 1};

  if (const auto decoded = decode_base64(octets)) {
    if (encode_base64(*decoded) != octets) std::abort();
  }
  if (decode_base64(encode_base64(octets)) != octets) std::abort();
  if (const auto keys = parse_scram(octets); keys && parse_scram(format_scram(*keys))->salt != keys->salt) std::abort();

  const auto mechanism = (data[0] & 128U) != 0 ? "CRAM-MD5" : mechanisms[data[0] % mechanisms.size()];
  const auto sasl = Sasl::start(mechanism, Channel{true, std::string(32, 'e'), ""});
  if (!sasl) std::abort();
  SaslStep step = sasl->begin(std::nullopt);
  for (int round = 0; round < 5; ++round) {
    if (std::holds_alternative<NeedKeys>(step)) {
      step = sasl->give_keys((data[0] & 64U) != 0 ? known() : StoredKeys{});
      continue;
    }
    // Nobody proves anything without the keys.
    if (std::holds_alternative<Success>(step)) std::abort();
    if (!std::holds_alternative<Challenge>(step)) break;
    const auto message = octets.substr(0, octets.find('\n'));
    octets.remove_prefix(std::min(octets.size(), message.size() + 1));
    step = sasl->answer(message);
  }
  return 0;
}

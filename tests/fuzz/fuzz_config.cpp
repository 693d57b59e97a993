// The configuration from any text: no crash, every mistake says what and what to do, and what was accepted reads back
// the same when it is shown. The octets up to a line "---" are pennypost.toml, the rest a server's file.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "common/config/config.hpp"

namespace config = common::config;

namespace {

void expect(bool holds) {
  if (!holds) std::abort();
}

auto parse(std::string_view suite, std::string_view server) {
  return config::parse("/pennypost.toml", suite, {{"/servers/fuzz.toml", std::string{server}}});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  constexpr std::string_view mark = "---\n";
  const auto at = text.find(mark);
  const auto suite = at == std::string_view::npos ? std::string_view{} : text.substr(0, at);
  const auto server = at == std::string_view::npos ? text : text.substr(at + mark.size());

  const auto first = parse(suite, server);
  if (!first) {
    expect(!first.error().empty());
    for (const auto& mistake : first.error()) {
      expect(!mistake.what.empty() && !mistake.remedy.empty() && !mistake.warning);
      for (const char c : format_mistake(mistake)) expect(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
    }
    return 0;
  }
  const auto shown_suite = show_suite(first->config, true);
  const auto shown_server = show_server(first->config.servers.front(), true);
  for (const bool defaults : {true, false}) {
    const auto again = parse(show_suite(first->config, defaults), show_server(first->config.servers.front(), defaults));
    expect(again.has_value());
    expect(show_suite(again->config, true) == shown_suite);
    expect(show_server(again->config.servers.front(), true) == shown_server);
  }
  return 0;
}

#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "mailstore/store.hpp"
#include "tools/pennypost/header.hpp"
#include "tools/pennypost/session.hpp"

namespace tools {

/// The message piece by piece, as the reader gets it: the owner's lines first, stuffed dots taken away.
template <class Take>
void each_piece(const mailstore::OpenMessage& message, std::uint64_t stored_octets, const std::string& id,
                const Take& take) {
  take(std::string_view(message.front));
  std::vector<char> buffer(std::size_t{64} << 10U);
  std::string plain;
  Unstuffer unstuffer;
  for (std::uint64_t at = 0; at < stored_octets;) {
    const auto wanted = std::min<std::uint64_t>(buffer.size(), stored_octets - at);
    const auto got =
        need(message.read(at, std::span(buffer).first(wanted)), fmt::format("message {} could not be read", id));
    if (got == 0) fail(fmt::format("message {} ends too early; run 'pennypost store check'", id));
    const std::string_view piece(buffer.data(), got);
    at += got;
    if (message.stuffed) {
      plain.clear();
      unstuffer.append(piece, plain);
      take(std::string_view(plain));
    } else {
      take(piece);
    }
  }
}

}  // namespace tools

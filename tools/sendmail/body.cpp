#include "tools/sendmail/body.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace tools::sendmail {
namespace {

constexpr std::size_t kept_in_memory = 1U << 20U;
constexpr std::size_t piece_octets = 64 * 1024;

std::unexpected<Refusal> trouble() {
  return std::unexpected(
      Refusal{Status::try_again, fmt::format("the message cannot be kept for the moment: {}", std::strerror(errno))});
}

}  // namespace

std::expected<void, Refusal> Body::append(std::string_view octets) {
  octets_ += octets.size();
  eight_bit_ = eight_bit_ || std::ranges::any_of(octets, [](char c) { return static_cast<unsigned char>(c) >= 0x80; });
  if (!file_) {
    memory_ += octets;
    if (memory_.size() <= kept_in_memory) return {};
    file_.reset(std::tmpfile());
    if (!file_) return trouble();
    const auto held = std::exchange(memory_, {});
    return std::fwrite(held.data(), 1, held.size(), file_.get()) == held.size() ? std::expected<void, Refusal>{}
                                                                                : trouble();
  }
  if (std::fwrite(octets.data(), 1, octets.size(), file_.get()) != octets.size()) return trouble();
  return {};
}

std::expected<void, Refusal> Body::tell(const std::function<bool(std::string_view)>& each) const {
  if (!file_) {
    for (std::string_view rest = memory_; !rest.empty();) {
      const auto piece = rest.substr(0, piece_octets);
      if (!each(piece)) return {};
      rest.remove_prefix(piece.size());
    }
    return {};
  }
  if (std::fflush(file_.get()) != 0 || std::fseek(file_.get(), 0, SEEK_SET) != 0) return trouble();
  std::string piece(piece_octets, '\0');
  for (auto left = octets_; left != 0;) {
    const auto got = std::fread(piece.data(), 1, piece.size(), file_.get());
    if (got == 0) return trouble();
    left -= got;
    if (!each(std::string_view{piece}.substr(0, got))) return {};
  }
  return {};
}

}  // namespace tools::sendmail

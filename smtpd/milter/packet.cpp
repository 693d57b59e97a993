#include "smtpd/milter/packet.hpp"

namespace smtpd::milter {
namespace {

constexpr std::size_t length_octets = 4;

std::uint32_t read_number(std::string_view octets) {
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < 4; ++i) number = number << 8U | static_cast<unsigned char>(octets[i]);
  return number;
}

}  // namespace

void append_number(std::string& out, std::uint32_t number) {
  for (unsigned shift = 24;; shift -= 8) {
    out.push_back(static_cast<char>(number >> shift & 0xffU));
    if (shift == 0) break;
  }
}

void append_text(std::string& out, std::string_view text) {
  out += text.substr(0, text.find('\0'));
  out.push_back('\0');
}

std::string packet_head(char command, std::size_t data_octets) {
  std::string head;
  append_number(head, static_cast<std::uint32_t>(data_octets + 1));
  head.push_back(command);
  return head;
}

void append_packet(std::string& out, char command, std::string_view data) {
  append_number(out, static_cast<std::uint32_t>(data.size() + 1));
  out.push_back(command);
  out += data;
}

std::optional<std::uint32_t> Fields::number() {
  if (rest_.size() < 4) return std::nullopt;
  const auto number = read_number(rest_);
  rest_.remove_prefix(4);
  return number;
}

std::optional<std::string_view> Fields::text() {
  const auto end = rest_.find('\0');
  if (end == std::string_view::npos) return std::nullopt;
  const auto text = rest_.substr(0, end);
  rest_.remove_prefix(end + 1);
  return text;
}

void PacketReader::feed(std::string_view octets) {
  held_.erase(0, at_);
  at_ = 0;
  held_ += octets;
}

std::expected<std::optional<Packet>, std::string> PacketReader::next() {
  if (empty()) {
    std::string{}.swap(held_);
    at_ = 0;
  }
  const auto rest = std::string_view{held_}.substr(at_);
  if (rest.size() < length_octets) return std::nullopt;
  const std::size_t length = read_number(rest);
  if (length == 0) return std::unexpected("a packet without a command");
  if (length > packet_limit) return std::unexpected("a packet of " + std::to_string(length) + " octets");
  if (rest.size() - length_octets < length) return std::nullopt;
  at_ += length_octets + length;
  return Packet{rest[length_octets], rest.substr(length_octets + 1, length - 1)};
}

}  // namespace smtpd::milter

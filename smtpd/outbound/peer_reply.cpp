#include "smtpd/outbound/peer_reply.hpp"

#include <cstring>

namespace smtpd::outbound {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// 1 to 3 digits without a leading zero but for zero itself (RFC 3463 2).
std::size_t number_at(std::string_view text, std::size_t at) {
  std::size_t digits = 0;
  while (digits < 4 && at + digits < text.size() && is_digit(text[at + digits])) ++digits;
  return digits > 3 ? 0 : digits;
}

}  // namespace

std::string_view describe(ReplyFault fault) {
  switch (fault) {
    case ReplyFault::line_too_long:
      return "a reply line without end";
    case ReplyFault::too_many_lines:
      return "a reply of too many lines";
    case ReplyFault::too_long:
      return "a reply that is too long";
    case ReplyFault::no_code:
      return "a line that is no reply";
    case ReplyFault::code_changes:
      return "a reply whose code changes from line to line";
    case ReplyFault::bare_newline:
      return "a reply with a lone line feed";
  }
  return "";
}

std::string_view take_enhanced(std::string_view& text, std::uint16_t code) {
  if (text.size() < 5 || text[1] != '.') return {};
  const auto subject = number_at(text, 2);
  if (subject == 0 || 2 + subject >= text.size() || text[2 + subject] != '.') return {};
  const auto detail = number_at(text, 3 + subject);
  if (detail == 0) return {};
  const auto end = 3 + subject + detail;
  if (end < text.size() && text[end] != ' ' && text[end] != '\n') return {};
  // RFC 5321 4.2.1: the code decides. One of another class only looks like an enhanced code, or lies.
  if (text[0] - '0' != code / 100 || code / 100 == 3) return {};
  const auto found = text.substr(0, end);
  text.remove_prefix(end < text.size() && text[end] == ' ' ? end + 1 : end);
  return found;
}

std::expected<bool, ReplyFault> ReplyReader::on_line(std::string_view line) {
  // RFC 5321 4.2: three digits, then the end, a space, or the hyphen of a line that is not the last.
  if (line.size() < 3 || line[0] < '2' || line[0] > '5' || !is_digit(line[1]) || !is_digit(line[2]) ||
      (line.size() > 3 && line[3] != ' ' && line[3] != '-')) {
    return std::unexpected(ReplyFault::no_code);
  }
  const auto code = static_cast<std::uint16_t>((line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0'));
  if (lines_ > 0 && code != code_) return std::unexpected(ReplyFault::code_changes);
  code_ = code;
  if (++lines_ > reply_lines_limit) return std::unexpected(ReplyFault::too_many_lines);
  return line.size() == 3 || line[3] == ' ';
}

PeerReply ReplyReader::finish(std::string_view text) {
  PeerReply reply;
  reply.code = code_;
  reply.text = text;
  reply.enhanced = take_enhanced(reply.text, code_);
  lines_ = 0;
  handed_out_ = true;
  return reply;
}

std::optional<std::expected<PeerReply, ReplyFault>> ReplyReader::next(std::string_view& in) {
  if (handed_out_) {
    held_.clear();
    text_.clear();
    handed_out_ = false;
  }
  while (!in.empty()) {
    const void* found = std::memchr(in.data(), '\n', in.size());
    const auto taken =
        found == nullptr ? in.size() : static_cast<std::size_t>(static_cast<const char*>(found) - in.data()) + 1;
    if (held_.size() + taken > reply_line_limit) return std::unexpected(ReplyFault::line_too_long);
    auto line = in.substr(0, taken);
    in.remove_prefix(taken);
    if (found == nullptr || !held_.empty()) {
      held_.append(line);
      if (found == nullptr) return std::nullopt;
      line = held_;
    }
    if (line.size() < 2 || line[line.size() - 2] != '\r') return std::unexpected(ReplyFault::bare_newline);
    line.remove_suffix(2);

    const auto last = on_line(line);
    if (!last) return std::unexpected(last.error());
    line.remove_prefix(line.size() > 3 ? 4 : 3);
    // A reply of one line, as most are, is not copied.
    if (*last && lines_ == 1) return finish(line);
    if (text_.size() + line.size() > reply_octets_limit) return std::unexpected(ReplyFault::too_long);
    if (lines_ > 1) {
      text_ += '\n';
      // RFC 2034 4: each line may repeat the enhanced code.
      std::string_view rest = line;
      std::string_view first = text_;
      const auto repeated = take_enhanced(rest, code_);
      if (!repeated.empty() && take_enhanced(first, code_) == repeated) line = rest;
    }
    text_ += line;
    held_.clear();
    if (*last) return finish(text_);
  }
  return std::nullopt;
}

void ReplyReader::clear() {
  held_.clear();
  text_.clear();
  lines_ = 0;
  handed_out_ = false;
}

}  // namespace smtpd::outbound

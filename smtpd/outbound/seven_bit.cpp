#include "smtpd/outbound/seven_bit.hpp"

#include <algorithm>
#include <utility>

#include "common/auth/sasl.hpp"

namespace smtpd::outbound {
namespace {

bool is_high(char c) {
  return static_cast<unsigned char>(c) >= 0x80;
}
bool has_high(std::string_view text) {
  return std::ranges::any_of(text, is_high);
}

/// A line as it was before its dot was stuffed (RFC 5321 4.5.2).
std::string_view unstuffed(const LinePiece& piece) {
  auto octets = piece.octets;
  if (piece.first && octets.starts_with('.')) octets.remove_prefix(1);
  return octets;
}

}  // namespace

// ---- the first pass

void MessageExaminer::cannot(std::string_view why) {
  if (found_.content == Examination::Content::fixed) return;
  found_.content = Examination::Content::fixed;
  found_.why = why;
}

void MessageExaminer::on_header(const LinePiece& piece, Field) {
  if (!has_high(piece.octets)) return;
  found_.header_ascii = false;
  anything_high_ = true;
  cannot("its header is not ASCII");
}

void MessageExaminer::on_entity(const EntityHeader& header) {
  if (plans_.size() == entities_limit) {
    entity_ = {.nature = Nature::sealed};
    return;
  }
  entity_ = header;
  const bool says_eight = header.encoding == Encoding::eight_bit || header.encoding == Encoding::binary;
  plans_.push_back({says_eight ? Conversion::relabel : Conversion::keep, false});
  octets_ = high_ = 0;
  utf8_ = true;
  utf8_missing_ = 0;
}

void MessageExaminer::count(std::string_view octets) {
  octets_ += octets.size();
  for (const char c : octets) {
    const auto value = static_cast<unsigned char>(c);
    if (value < 0x80) {
      if (utf8_missing_ > 0) utf8_ = false;
      utf8_missing_ = 0;
      continue;
    }
    ++high_;
    if (utf8_missing_ > 0 && value < 0xc0) {
      --utf8_missing_;
    } else if (utf8_missing_ == 0 && value >= 0xc2 && value < 0xf5) {
      utf8_missing_ = value < 0xe0 ? 1 : value < 0xf0 ? 2 : 3;
    } else {
      utf8_ = false;
      utf8_missing_ = 0;
    }
  }
}

void MessageExaminer::on_content(const LinePiece& piece) {
  count(unstuffed(piece));
  if (piece.last) count("\r\n");
}

void MessageExaminer::on_content_end(Followed) {
  if (high_ == 0 || plans_.empty()) return;
  anything_high_ = true;
  if (plans_.size() == entities_limit) return cannot("it has too many parts");
  if (entity_.nature == Nature::sealed) return cannot("it is signed, encrypted or otherwise not to be changed");
  if (entity_.nature == Nature::unclear) return cannot("its structure is not clear");
  const bool encoded = entity_.encoding == Encoding::quoted_printable || entity_.encoding == Encoding::base64 ||
                       entity_.encoding == Encoding::unknown;
  if (encoded) return cannot("a part has 8-bit octets where it says that it has none");
  // Three octets for each that is high, or four for any three.
  const bool quoted = entity_.nature == Nature::text && high_ * 6 <= octets_;
  plans_.back() = {quoted ? Conversion::quoted_printable : Conversion::base64, utf8_ && utf8_missing_ == 0};
}

void MessageExaminer::on_filler(const LinePiece& piece) {
  if (has_high(piece.octets)) anything_high_ = true;
}

Examination MessageExaminer::finish() {
  walker_.end();
  if (anything_high_ && found_.content != Examination::Content::fixed)
    found_.content = Examination::Content::convertible;
  return found_;
}

// ---- the second pass

void SevenBitConverter::feed(std::string_view stored, std::string& out) {
  out_ = &out;
  walker_.feed(stored);
}

void SevenBitConverter::finish(std::string& out) {
  out_ = &out;
  walker_.end();
}

void SevenBitConverter::put_line(const LinePiece& piece) {
  *out_ += piece.octets;
  if (piece.last) *out_ += "\r\n";
}

void SevenBitConverter::on_header(const LinePiece& piece, Field field) {
  if (field == Field::transfer_encoding && plan().conversion != Conversion::keep) return;
  put_line(piece);
}

void SevenBitConverter::on_entity(const EntityHeader& header) {
  leaf_ = plan();
  ++at_;
  newline_due_ = false;
  if (leaf_.conversion == Conversion::keep) return;
  const bool encoded = leaf_.conversion != Conversion::relabel;
  if (header.message && !header.has_version) *out_ += "MIME-Version: 1.0\r\n";
  if (encoded && !header.has_type) {
    // RFC 1428 3: 8-bit text that does not say what it is.
    *out_ += leaf_.utf8 ? "Content-Type: text/plain; charset=utf-8\r\n"
                        : "Content-Type: text/plain; charset=unknown-8bit\r\n";
  }
  *out_ += "Content-Transfer-Encoding: ";
  *out_ += leaf_.conversion == Conversion::relabel            ? "7bit"
           : leaf_.conversion == Conversion::quoted_printable ? "quoted-printable"
                                                              : "base64";
  *out_ += "\r\n";
}

void SevenBitConverter::on_header_end() {
  *out_ += "\r\n";
}

void SevenBitConverter::on_delimiter(std::string_view line) {
  *out_ += line;
  *out_ += "\r\n";
}

void SevenBitConverter::on_filler(const LinePiece& piece) {
  const auto from = out_->size();
  put_line(piece);
  std::ranges::replace_if(out_->begin() + static_cast<std::ptrdiff_t>(from), out_->end(), is_high, '?');
}

void SevenBitConverter::on_content(const LinePiece& piece) {
  switch (leaf_.conversion) {
    case Conversion::keep:
    case Conversion::relabel:
      put_line(piece);
      return;
    case Conversion::quoted_printable:
      if (newline_due_) end_quoted_line();
      quote(unstuffed(piece));
      break;
    case Conversion::base64:
      if (newline_due_) encode("\r\n");
      encode(unstuffed(piece));
      break;
  }
  newline_due_ = piece.last;
}

void SevenBitConverter::on_content_end(Followed by) {
  if (leaf_.conversion == Conversion::quoted_printable && newline_due_) end_quoted_line();
  if (leaf_.conversion == Conversion::base64) {
    if (newline_due_ && by == Followed::by_nothing) encode("\r\n");
    flush_encoded();
  }
  newline_due_ = false;
}

/// RFC 2045 6.7.
void SevenBitConverter::quote(std::string_view octets) {
  static constexpr std::string_view digits = "0123456789ABCDEF";
  for (const char c : octets) {
    if (space_ != 0) {
      const char blank = std::exchange(space_, '\0');
      put_quoted({&blank, 1});
    }
    const auto value = static_cast<unsigned char>(c);
    if (c == ' ' || c == '\t') {
      space_ = c;
      continue;
    }
    // A dot would have to be stuffed, and a line that we begin must not look like a delimiter.
    const bool full = column_ + 1 > 75;
    const bool first = column_ == 0 || full;
    const bool literal = value > ' ' && value < 0x7f && c != '=' && !(first && c == '.') && !(full && c == '-');
    if (literal) {
      put_quoted({&c, 1});
    } else {
      const std::array<char, 3> token{'=', digits[value >> 4], digits[value & 15]};
      put_quoted({token.data(), token.size()});
    }
  }
}

/// Lines have 76 octets at most, the "=" of a soft break included.
void SevenBitConverter::put_quoted(std::string_view token) {
  if (column_ + token.size() > 75) {
    *out_ += "=\r\n";
    column_ = 0;
  }
  *out_ += token;
  column_ += token.size();
}

void SevenBitConverter::end_quoted_line() {
  if (space_ != 0) {
    // Rule 3: a blank at the end of a line would be lost on the way.
    put_quoted(std::exchange(space_, '\0') == ' ' ? "=20" : "=09");
  }
  *out_ += "\r\n";
  column_ = 0;
}

void SevenBitConverter::encode(std::string_view octets) {
  while (!octets.empty()) {
    const auto count = std::min(octets.size(), group_.size() - group_used_);
    std::ranges::copy(octets.substr(0, count), group_.data() + group_used_);
    group_used_ += count;
    octets.remove_prefix(count);
    if (group_used_ == group_.size()) flush_encoded();
  }
}

void SevenBitConverter::flush_encoded() {
  if (group_used_ == 0) return;
  *out_ += common::auth::encode_base64({group_.data(), group_used_});
  *out_ += "\r\n";
  group_used_ = 0;
}

}  // namespace smtpd::outbound

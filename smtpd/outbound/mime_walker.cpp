#include "smtpd/outbound/mime_walker.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace smtpd::outbound {
namespace {

/// Shorter lines come in one piece, whatever the cuts: among them all delimiters and the names of all fields.
constexpr std::size_t whole_line = 1024;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
bool is_field(std::string_view line, std::string_view name) {
  const auto colon = line.find(':');
  if (colon == line.npos) return false;
  auto found = line.substr(0, colon);
  while (!found.empty() && (found.back() == ' ' || found.back() == '\t')) found.remove_suffix(1);
  return std::ranges::equal(found, name, [](char a, char b) { return lower(a) == b; });
}

/// Position behind the first CRLF, or npos; `after_cr`: the octet before `in` was CR.
std::size_t end_of_line(std::string_view in, bool after_cr) {
  std::size_t from = 0;
  while (from < in.size()) {
    const void* found = std::memchr(in.data() + from, '\n', in.size() - from);
    if (found == nullptr) return std::string_view::npos;
    const auto at = static_cast<std::size_t>(static_cast<const char*>(found) - in.data());
    if (at == 0 ? after_cr : in[at - 1] == '\r') return at + 1;
    from = at + 1;
  }
  return std::string_view::npos;
}

}  // namespace

void MimeWalker::feed(std::string_view octets) {
  while (!octets.empty()) {
    const auto end = end_of_line(octets, !held_.empty() && held_.back() == '\r');
    if (end == octets.npos) {
      held_ += octets;
      if (held_.size() > whole_line) {
        // A CR at its end may be half of a line's end.
        const bool cr = held_.back() == '\r';
        if (cr) held_.pop_back();
        on_piece({held_, !line_begun_, false});
        line_begun_ = true;
        held_ = cr ? "\r" : "";
      }
      return;
    }
    auto line = octets.substr(0, end);
    octets.remove_prefix(end);
    if (!held_.empty()) {
      held_ += line;
      line = held_;
    }
    line.remove_suffix(2);
    on_piece({line, !line_begun_, true});
    line_begun_ = false;
    held_.clear();
  }
}

void MimeWalker::end() {
  // The store ends each message with CRLF; one without it is read as if it had one.
  if (!held_.empty() || line_begun_) on_piece({held_, !line_begun_, true});
  held_.clear();
  line_begun_ = false;
  close_entity(MimeVisitor::Followed::by_nothing);
}

void MimeWalker::on_piece(const LinePiece& piece) {
  if (piece.first && piece.last && take_delimiter(piece.octets)) return;
  switch (state_) {
    case State::header:
      on_header_piece(piece);
      break;
    case State::content:
      visitor_.on_content(piece);
      break;
    case State::filler:
      visitor_.on_filler(piece);
      break;
  }
}

/// RFC 2046 5.1.1: two hyphens, the boundary, two more behind the last part, white space. A delimiter of an outer
/// multipart ends the inner ones.
bool MimeWalker::take_delimiter(std::string_view line) {
  if (levels_.empty() || !line.starts_with("--")) return false;
  for (std::size_t i = levels_.size(); i-- > 0;) {
    auto rest = line.substr(2);
    if (!rest.starts_with(levels_[i].boundary)) continue;
    rest.remove_prefix(levels_[i].boundary.size());
    const bool closes = rest.starts_with("--");
    if (closes) rest.remove_prefix(2);
    if (rest.find_first_not_of(" \t") != rest.npos) continue;

    close_entity(MimeVisitor::Followed::by_delimiter);
    visitor_.on_delimiter(line);
    levels_.resize(closes ? i : i + 1);
    if (closes) {
      state_ = State::filler;
    } else {
      begin_entity(levels_[i].digest ? Part::part_of_digest : Part::part);
    }
    return true;
  }
  return false;
}

void MimeWalker::close_entity(MimeVisitor::Followed by) {
  if (state_ == State::header) {
    // A header without its empty line has no content.
    end_field();
    visitor_.on_entity(header_);
  } else if (state_ == State::content) {
    visitor_.on_content_end(by);
  }
  state_ = State::filler;
}

void MimeWalker::begin_entity(Part part) {
  state_ = State::header;
  part_ = part;
  header_ = {};
  header_.message = part == Part::message;
  if (part == Part::part_of_digest) header_.nature = Nature::message;
  boundary_.clear();
  field_.clear();
  reading_ = Reading::nothing;
}

void MimeWalker::on_header_piece(const LinePiece& piece) {
  if (piece.first && piece.last && piece.octets.empty()) {
    end_header();
    return;
  }
  const bool continues =
      !piece.first || (!piece.octets.empty() && (piece.octets.front() == ' ' || piece.octets.front() == '\t'));
  if (continues) {
    if (reading_ != Reading::nothing && field_.size() <= field_limit) field_ += piece.octets;
  } else {
    end_field();
    begin_field(piece.octets);
  }
  visitor_.on_header(piece,
                     reading_ == Reading::encoding ? MimeVisitor::Field::transfer_encoding : MimeVisitor::Field::other);
}

void MimeWalker::begin_field(std::string_view line) {
  reading_ = is_field(line, "content-type")                ? Reading::type
             : is_field(line, "content-transfer-encoding") ? Reading::encoding
             : is_field(line, "mime-version")              ? Reading::version
                                                           : Reading::nothing;
  if (reading_ != Reading::nothing) field_ = line.substr(line.find(':') + 1);
}

void MimeWalker::end_field() {
  const auto what = std::exchange(reading_, Reading::nothing);
  if (what == Reading::version) header_.has_version = true;
  if (what == Reading::type) {
    auto found = field_.size() > field_limit ? ContentType{Nature::unclear, {}} : parse_content_type(field_);
    // Two of them: who reads which is not known.
    header_.nature = header_.has_type ? Nature::unclear : found.nature;
    header_.has_type = true;
    boundary_ = std::move(found.boundary);
  }
  if (what == Reading::encoding) {
    header_.encoding = header_.encoding == Encoding::none ? parse_transfer_encoding(field_) : Encoding::unknown;
  }
}

void MimeWalker::end_header() {
  end_field();
  const bool identity = header_.encoding == Encoding::none || header_.encoding == Encoding::seven_bit ||
                        header_.encoding == Encoding::eight_bit || header_.encoding == Encoding::binary;
  const bool inner =
      header_.nature == Nature::multipart || header_.nature == Nature::digest || header_.nature == Nature::message;
  // RFC 2045 6.4: what has entities within is not encoded itself.
  if (inner && (!identity || levels_.size() >= depth_limit || nested_ >= depth_limit)) header_.nature = Nature::unclear;
  visitor_.on_entity(header_);
  visitor_.on_header_end();
  if (header_.nature == Nature::message) {
    ++nested_;
    begin_entity(Part::message);
  } else if (header_.nature == Nature::multipart || header_.nature == Nature::digest) {
    levels_.push_back({boundary_, header_.nature == Nature::digest});
    state_ = State::filler;
  } else {
    state_ = State::content;
  }
}

}  // namespace smtpd::outbound

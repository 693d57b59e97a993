#include "smtpd/protocol/data_reader.hpp"

#include <algorithm>
#include <utility>

#include "smtpd/protocol/cursor.hpp"
#include "smtpd/protocol/scan.hpp"

namespace smtpd {
namespace {

/// A first line longer than this is text, not the beginning of a header section.
constexpr std::size_t opening_limit = 1000;

/// RFC 5322 2.2: name, colon. "From " opens messages that once lay in an mbox file; a header section follows it.
bool opens_header(std::string_view line, Framing framing) {
  if (framing == Framing::dotted && line.starts_with('.')) line.remove_prefix(1);
  line = line.substr(0, line.find_first_of("\r\n"));
  if (line.starts_with("From ") || line.empty()) return true;
  const auto colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  auto name = line.substr(0, colon);
  while (name.ends_with(' ') || name.ends_with('\t')) name.remove_suffix(1);  // RFC 5322 4.5
  return !name.empty() && std::ranges::all_of(name, [](char c) { return c > ' ' && c < '\x7f'; });
}

}  // namespace

struct DataReader::Span {
  std::string_view in;
  DataSink& sink;
  std::size_t run = 0;
  std::size_t at = 0;
  char octet() const { return in[at]; }
  /// `ahead` octets behind `at`, if the call brought so many.
  std::optional<char> after(std::size_t ahead) const {
    return at + ahead < in.size() ? std::optional{in[at + ahead]} : std::nullopt;
  }
  void drop(std::size_t octets) { run = at += octets; }
};

DataReader::DataReader(const DataLimits& limits, MissingFields missing, Framing framing)
    : limits_(limits),
      missing_(std::move(missing)),
      framing_(framing),
      opening_(!missing_.date.empty() || !missing_.message_id.empty()) {}

void DataReader::emit(std::string_view octets, DataSink& sink) {
  if (octets.empty()) return;
  stored_ += octets.size();
  // Dots may be counted before they are let through, never after: the last call is exact.
  if (limits_.octets != 0 && stored_ - added_ > limits_.octets && stored_ - added_ - dots_ > limits_.octets)
    too_big_ = true;
  if (in_header_ && stored_ > limits_.header_octets && limits_.header_octets != 0) header_too_big_ = true;
  if (!fault()) sink.append(octets);
}

void DataReader::emit_added(std::string_view octets, DataSink& sink) {
  added_ += octets.size();
  emit(octets, sink);
}

void DataReader::flush(Span& span) {
  emit(span.in.substr(span.run, span.at - span.run), span.sink);
  span.run = span.at;
}

void DataReader::collect(std::string_view octets) {
  const auto count = std::min(octets.size(), head_.size() - head_size_);
  std::copy_n(octets.begin(), count, head_.begin() + head_size_);
  head_size_ = static_cast<std::uint8_t>(head_size_ + count);
}

void DataReader::end_line() {
  if (!in_header_) return;
  const std::string_view line{head_.data(), head_size_};
  head_size_ = 0;
  const auto name = line.substr(0, line.find_first_of(": \t"));
  if (name.size() == line.size()) return;
  if (equals_word(name, "received")) {
    if (++hops_ > limits_.hops && limits_.hops != 0) too_many_hops_ = true;
  } else if (equals_word(name, "date")) {
    missing_.date.clear();
  } else if (equals_word(name, "message-id")) {
    missing_.message_id.clear();
  }
}

/// The header section is let through but for its empty line, if it has one.
void DataReader::end_header(DataSink& sink) {
  emit_added(missing_.date, sink);
  emit_added(missing_.message_id, sink);
}

/// Lets a line end through that is not part of the run.
void DataReader::put_newline(LineIs line, DataSink& sink) {
  if (!in_header_) return emit("\r\n", sink);
  if (line == LineIs::text) {
    end_line();
    return emit("\r\n", sink);
  }
  end_header(sink);
  emit("\r\n", sink);
  in_header_ = false;
  header_octets_ = stored_;
}

/// A CR or LF alone at the front of what is left: `octets` of it were let through by nobody yet and are taken out of
/// the input already.
void DataReader::on_lone_newline(std::string_view octets, LineIs line, DataSink& sink) {
  if (limits_.bare_newline == BareNewline::reject) {
    bare_newline_ = true;
    emit(octets, sink);
    state_ = State::text;
  } else {
    put_newline(line, sink);
    state_ = State::soft_start;
  }
}

void DataReader::on_line_start(Span& span) {
  const char c = span.octet();
  if (c == '.') {
    // Nobody stuffed this dot: behind BDAT nobody does, and here the sender did not see a line start.
    if (framing_ == Framing::counted || state_ == State::soft_start) {
      flush(span);
      ++dots_;
      emit(".", span.sink);
      if (in_header_) collect(".");
      ++span.at;
      state_ = State::text;
      return;
    }
    const auto next = span.after(1);
    if (next && *next != '\r' && *next != '\n') {
      ++dots_;
      ++span.at;
      state_ = State::text;
      return;
    }
    flush(span);
    span.drop(1);
    state_ = State::dot;
  } else if (c == '\r') {
    if (!in_header_ && span.after(1) == '\n') {
      span.at += 2;
      state_ = State::line_start;
      return;
    }
    flush(span);
    span.drop(1);
    state_ = State::start_cr;
  } else if (c == '\n') {
    flush(span);
    span.drop(1);
    on_lone_newline("\n", LineIs::empty, span.sink);
  } else {
    state_ = State::text;
  }
}

void DataReader::on_text(Span& span) {
  const char* begin = span.in.data() + span.at;
  const char* found = find_newline(begin, span.in.data() + span.in.size());
  const auto length = static_cast<std::size_t>(found - begin);
  if (in_header_) collect({begin, length});
  span.at += length;
  if (span.at == span.in.size()) return;
  if (span.octet() == '\r') {
    const auto next = span.after(1);
    if (next == '\n') {
      span.at += 2;
      end_line();
      state_ = State::line_start;
      return;
    }
    flush(span);
    span.drop(1);
    state_ = State::cr;
    return;
  }
  flush(span);
  span.drop(1);
  on_lone_newline("\n", LineIs::text, span.sink);
}

void DataReader::on_cr(Span& span) {
  const LineIs line = state_ == State::start_cr ? LineIs::empty : LineIs::text;
  if (span.octet() != '\n') return on_lone_newline("\r", line, span.sink);
  span.drop(1);
  put_newline(line, span.sink);
  state_ = State::line_start;
}

void DataReader::on_dot(Span& span) {
  const char c = span.octet();
  if (c == '\r') {
    span.drop(1);
    state_ = State::dot_cr;
  } else if (c == '\n') {
    // What the dot stuffs is an empty line. Kept, it would be an end of data in the stored form.
    span.drop(1);
    on_lone_newline(".\n", LineIs::empty, span.sink);
  } else {
    ++dots_;
    emit(".", span.sink);
    state_ = State::text;
  }
}

void DataReader::on_dot_cr(Span& span) {
  if (span.octet() != '\n') return on_lone_newline(".\r", LineIs::empty, span.sink);
  span.drop(1);
  state_ = State::complete;
  if (in_header_) {
    end_header(span.sink);
    header_octets_ = stored_;
  }
}

/// Passes what is plain lines with CRLF ends and without dots in front, in blocks.
void DataReader::skip_blocks(Span& span) {
  const char* octets = span.in.data();
  std::uint64_t cr_before = 0;
  std::uint64_t lf_before = state_ == State::line_start ? 1 : 0;
  while (span.in.size() - span.at >= 64) {
    const BlockMasks block = scan_block(octets + span.at);
    const std::uint64_t behind_cr = block.cr << 1U | cr_before;
    const std::uint64_t behind_lf = block.lf << 1U | lf_before;
    const std::uint64_t stops = (block.lf ^ behind_cr) | (block.dot & behind_lf);
    if (stops != 0) {
      const auto plain = static_cast<unsigned>(std::countr_zero(stops));
      cr_before = behind_cr >> plain & 1U;
      lf_before = behind_lf >> plain & 1U;
      span.at += plain;
      break;
    }
    cr_before = block.cr >> 63U;
    lf_before = block.lf >> 63U;
    span.at += 64;
  }
  if (cr_before != 0) --span.at;
  state_ = lf_before != 0 ? State::line_start : State::text;
}

std::size_t DataReader::process(std::string_view in, DataSink& sink) {
  Span span{in, sink};
  while (span.at < in.size() && state_ != State::complete) {
    if (!in_header_ && in.size() - span.at >= 64 && (state_ == State::text || state_ == State::line_start)) {
      skip_blocks(span);
      if (span.at == in.size()) break;
    }
    switch (state_) {
      case State::line_start:
      case State::soft_start:
        on_line_start(span);
        break;
      case State::text:
        on_text(span);
        break;
      case State::cr:
      case State::start_cr:
        on_cr(span);
        break;
      case State::dot:
        on_dot(span);
        break;
      case State::dot_cr:
        on_dot_cr(span);
        break;
      case State::complete:
        break;
    }
  }
  flush(span);
  return span.at;
}

void DataReader::begin_without_header(DataSink& sink) {
  end_header(sink);
  emit_added("\r\n", sink);
  in_header_ = false;
  header_octets_ = stored_;
}

/// Gathers the first line, which tells whether there is a header section; without one the missing fields make it.
std::size_t DataReader::feed_opening(std::string_view in, DataSink& sink) {
  const auto end = in.find('\n');
  const auto taken = std::min(end == std::string_view::npos ? in.size() : end + 1, opening_limit - gathered_.size());
  gathered_ += in.substr(0, taken);
  if (end >= taken && gathered_.size() < opening_limit) return taken;
  opening_ = false;
  if (!opens_header(gathered_, framing_)) begin_without_header(sink);
  process(gathered_, sink);
  std::string{}.swap(gathered_);
  return taken;
}

void DataReader::finish(DataSink& sink) {
  if (opening_) {
    opening_ = false;
    if (!opens_header(gathered_, framing_)) begin_without_header(sink);
    process(gathered_, sink);
    std::string{}.swap(gathered_);
  }
  if (state_ == State::cr || state_ == State::start_cr) {
    on_lone_newline("\r", state_ == State::start_cr ? LineIs::empty : LineIs::text, sink);
  }
  if (state_ == State::text) {
    added_ += 2;
    put_newline(LineIs::text, sink);
  }
  state_ = State::complete;
  if (!in_header_) return;
  end_header(sink);
  header_octets_ = stored_;
}

std::size_t DataReader::feed(std::string_view in, DataSink& sink) {
  std::size_t taken = 0;
  if (opening_) taken = feed_opening(in, sink);
  return taken + process(in.substr(taken), sink);
}

std::optional<Cause> DataReader::fault() const {
  if (bare_newline_) return Cause::bare_newline;
  if (too_big_) return Cause::message_too_big;
  if (header_too_big_) return Cause::header_too_big;
  if (too_many_hops_) return Cause::too_many_hops;
  return std::nullopt;
}

DataFacts DataReader::facts() const {
  return {stored_ - dots_, header_octets_, dots_ != 0};
}

}  // namespace smtpd

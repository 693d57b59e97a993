#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "smtpd/protocol/reply.hpp"

namespace smtpd {

/// Takes what the reader lets through: the message in stored form.
class DataSink {
 public:
  virtual void append(std::string_view octets) = 0;

 protected:
  ~DataSink() = default;
};

/// How the end of a message is told.
enum class Framing : std::uint8_t {
  dotted,   ///< DATA: CRLF.CRLF ends it, lines that begin with a dot come stuffed
  counted,  ///< BDAT (RFC 3030): the sender counts octets; dots are stuffed here, once
};

/// What to do with a CR or LF that is not part of a CRLF.
enum class BareNewline : std::uint8_t { reject, normalize };

struct DataLimits {
  std::uint64_t octets = 0;  ///< of the message as the sender counts it; 0: none, as below
  std::uint64_t header_octets = 1U << 20U;
  std::uint64_t hops = 0;  ///< Received lines
  BareNewline bare_newline = BareNewline::reject;
};

/// Header fields, whole lines, that a submitted message gets when it has none (RFC 6409 8.2, 8.3); empty: left alone.
struct MissingFields {
  std::string date;
  std::string message_id;
};

/// What was let through, counted.
struct DataFacts {
  std::uint64_t octets = 0;  ///< real octets, without stuffed dots
  std::uint64_t header_octets =
      0;                 ///< stored octets until and with the first empty line; all of them when there is none
  bool stuffed = false;  ///< at least one line carries a stuffed dot
};

/// The octets of one message behind DATA (RFC 5321 4.5.2) or of its BDAT chunks (RFC 3030), in any cuts. Behind DATA
/// the end is CRLF.CRLF and nothing else: a lone LF or CR beside a dot ends nothing (smuggling). Lets the message
/// through in its stored form, which is DATA's: dot-stuffed, without the closing dot line. Normal mail passes in blocks
/// of 64 octets; only what may matter is looked at by itself.
class DataReader {
 public:
  explicit DataReader(const DataLimits& limits, MissingFields missing = {}, Framing framing = Framing::dotted);
  /// Takes octets from the front of `in` up to the end of data, and says how many. What is let through goes to `sink`
  /// before it returns. Counted octets are all taken.
  std::size_t feed(std::string_view in, DataSink& sink);
  /// The last counted octet was fed. A message that does not end in CRLF gets one: its stored form is made of lines.
  void finish(DataSink& sink);
  /// The end of data was seen; what follows is commands.
  bool complete() const { return state_ == State::complete; }
  /// Why the message cannot be accepted, once it is certain. Nothing is let through from then on; the end is still
  /// looked for.
  std::optional<Cause> fault() const;
  /// Once complete.
  DataFacts facts() const;

 private:
  enum class State : std::uint8_t {
    line_start,  ///< behind a CRLF, or at the beginning
    soft_start,  ///< behind a lone CR or LF that was made a CRLF
    text,        ///< inside a line
    cr,          ///< CR inside a line, not yet let through
    start_cr,    ///< CR as a line's first octet, not yet let through
    dot,         ///< dot as a line's first octet, not yet let through
    dot_cr,      ///< dot and CR, not yet let through
    complete,
  };
  enum class LineIs : std::uint8_t { empty, text };
  /// The octets of the call: [run, at) are decided and not yet let through.
  struct Span;

  std::size_t feed_opening(std::string_view in, DataSink& sink);
  std::size_t process(std::string_view in, DataSink& sink);
  void on_line_start(Span& span);
  void on_text(Span& span);
  void on_cr(Span& span);
  void on_dot(Span& span);
  void on_dot_cr(Span& span);
  void skip_blocks(Span& span);
  void on_lone_newline(std::string_view octets, LineIs line, DataSink& sink);
  void put_newline(LineIs line, DataSink& sink);
  void end_line();
  void end_header(DataSink& sink);
  void begin_without_header(DataSink& sink);
  void collect(std::string_view octets);
  void emit(std::string_view octets, DataSink& sink);
  void emit_added(std::string_view octets, DataSink& sink);
  void flush(Span& span);

  DataLimits limits_;
  MissingFields missing_;
  Framing framing_;
  State state_ = State::line_start;
  bool in_header_ = true;
  bool opening_ = false;  ///< the first line decides whether there is a header section; it is still being gathered
  bool bare_newline_ = false, too_big_ = false, header_too_big_ = false, too_many_hops_ = false;
  std::uint8_t head_size_ = 0;
  std::array<char, 16> head_{};  ///< the beginning of the header line being read, without a stuffed dot
  std::uint64_t hops_ = 0;
  std::uint64_t stored_ = 0;  ///< octets let through (or that would have been)
  std::uint64_t added_ = 0;   ///< of these, what the sender did not send
  std::uint64_t dots_ = 0;    ///< of these, stuffed dots
  std::uint64_t header_octets_ = 0;
  std::string gathered_;
};

}  // namespace smtpd

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "smtpd/outbound/mime_header.hpp"

/// A message in stored form (CRLF line ends, dots stuffed) taken apart into its MIME entities (RFC 2045, 2046) as it
/// passes by, in bounded memory. No I/O.
namespace smtpd::outbound {

/// What the header of an entity says.
struct EntityHeader {
  Nature nature = Nature::text;
  Encoding encoding = Encoding::none;
  bool has_type = false;
  bool has_version = false;  ///< MIME-Version
  bool message = false;      ///< a message's, and not a part's
};

/// A piece of a line, in stored form, without its CRLF. Long lines come in several.
struct LinePiece {
  std::string_view octets;
  bool first = true;
  bool last = true;
};

/// Told what a message is made of, in its order. Every line but those of leaves has its CRLF behind it.
class MimeVisitor {
 public:
  virtual ~MimeVisitor() = default;
  enum class Field : std::uint8_t { transfer_encoding, other };
  virtual void on_header(const LinePiece& piece, Field field) = 0;
  /// The fields are over; behind this, the empty line.
  virtual void on_entity(const EntityHeader& header) = 0;
  virtual void on_header_end() = 0;
  /// The content of a leaf: a CRLF stands between its lines.
  virtual void on_content(const LinePiece& piece) = 0;
  /// `delimiter`: the CRLF behind the last line belongs to what follows (RFC 2046 5.1.1).
  enum class Followed : std::uint8_t { by_delimiter, by_nothing };
  virtual void on_content_end(Followed by) = 0;
  virtual void on_delimiter(std::string_view line) = 0;
  /// Preambles and epilogues, which nobody reads.
  virtual void on_filler(const LinePiece& piece) = 0;
};

class MimeWalker {
 public:
  static constexpr std::size_t depth_limit = 20;
  /// More of Content-Type is not looked at: the entity is unclear.
  static constexpr std::size_t field_limit = 8192;

  explicit MimeWalker(MimeVisitor& visitor) : visitor_(visitor) { begin_entity(Part::message); }
  /// Any cuts.
  void feed(std::string_view octets);
  void end();

 private:
  enum class State : std::uint8_t { header, content, filler };
  enum class Part : std::uint8_t { message, part, part_of_digest };
  enum class Reading : std::uint8_t { nothing, type, encoding, version };
  struct Level {
    std::string boundary;
    bool digest = false;
  };

  void on_piece(const LinePiece& piece);
  void on_header_piece(const LinePiece& piece);
  bool take_delimiter(std::string_view line);
  void begin_entity(Part part);
  void begin_field(std::string_view line);
  void end_field();
  void end_header();
  void close_entity(MimeVisitor::Followed by);

  MimeVisitor& visitor_;
  State state_ = State::header;
  std::string held_;           ///< an unfinished piece
  bool line_begun_ = false;    ///< a piece of this line has been told
  std::vector<Level> levels_;  ///< the multiparts that we stand in
  std::size_t nested_ = 0;     ///< messages within messages so far
  EntityHeader header_;
  Part part_ = Part::message;
  std::string boundary_;
  std::string field_;
  Reading reading_ = Reading::nothing;
};

}  // namespace smtpd::outbound

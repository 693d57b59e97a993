#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "smtpd/outbound/client_conversation.hpp"
#include "smtpd/outbound/mime_walker.hpp"

/// Messages for peers without 8BITMIME (RFC 6152 3): a first pass looks what is in a message, a second one converts its
/// 8-bit leaves to quoted-printable or base64 (RFC 2045 6), each as suits its content. Stored form in, wire form out
/// (dots stuffed, without the closing one). Memory does not grow with the message. No I/O.
namespace smtpd::outbound {

/// What becomes of one entity.
enum class Conversion : std::uint8_t {
  keep,
  relabel,  ///< 7-bit already, or its parts will be, but says 8bit
  quoted_printable,
  base64,
};
struct EntityPlan {
  Conversion conversion = Conversion::keep;
  bool utf8 = false;  ///< the content is UTF-8: what a leaf without Content-Type is called
};

class MessageExaminer final : private MimeVisitor {
 public:
  static constexpr std::size_t entities_limit = 10'000;

  MessageExaminer() : walker_(*this) {}
  void feed(std::string_view stored) { walker_.feed(stored); }
  Examination finish();
  /// For the converter, once finished.
  const std::vector<EntityPlan>& plans() const { return plans_; }

 private:
  void on_header(const LinePiece& piece, Field field) override;
  void on_entity(const EntityHeader& header) override;
  void on_header_end() override {}
  void on_content(const LinePiece& piece) override;
  void on_content_end(Followed by) override;
  void on_delimiter(std::string_view) override {}
  void on_filler(const LinePiece& piece) override;
  void count(std::string_view octets);
  void cannot(std::string_view why);

  MimeWalker walker_;
  std::vector<EntityPlan> plans_;
  EntityHeader entity_;
  Examination found_;
  bool anything_high_ = false;
  std::uint64_t octets_ = 0, high_ = 0;  ///< of the leaf that is read
  bool utf8_ = true;
  int utf8_missing_ = 0;
};

class SevenBitConverter final : private MimeVisitor {
 public:
  /// `plans` of the same message; they must stay.
  explicit SevenBitConverter(const std::vector<EntityPlan>& plans) : walker_(*this), plans_(plans) {}
  /// Appends to `out` what the octets become: some three times as much at most.
  void feed(std::string_view stored, std::string& out);
  void finish(std::string& out);

 private:
  void on_header(const LinePiece& piece, Field field) override;
  void on_entity(const EntityHeader& header) override;
  void on_header_end() override;
  void on_content(const LinePiece& piece) override;
  void on_content_end(Followed by) override;
  void on_delimiter(std::string_view line) override;
  void on_filler(const LinePiece& piece) override;
  EntityPlan plan() const { return at_ < plans_.size() ? plans_[at_] : EntityPlan{}; }
  void put_line(const LinePiece& piece);
  void quote(std::string_view octets);
  void put_quoted(std::string_view token);
  void end_quoted_line();
  void encode(std::string_view octets);
  void flush_encoded();

  MimeWalker walker_;
  const std::vector<EntityPlan>& plans_;
  std::size_t at_ = 0;  ///< the plan of the entity whose header is read
  EntityPlan leaf_;     ///< of the entity whose content is read
  std::string* out_ = nullptr;
  bool newline_due_ = false;  ///< behind the last line of the leaf
  // quoted-printable
  std::size_t column_ = 0;
  char space_ = 0;  ///< a blank that may turn out to be the last of its line
  // base64
  std::array<char, 57> group_{};
  std::size_t group_used_ = 0;
};

}  // namespace smtpd::outbound

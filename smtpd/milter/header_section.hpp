#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// The header section of a message as filters see and change it. No I/O.
namespace smtpd::milter {

/// Whether the octet behind the colon belongs to a value (SMFIP_HDR_LEADSPC) or is a space that is taken and put back.
enum class LeadingSpace : std::uint8_t { separate, part_of_value };

struct HeaderField {
  std::string text;           ///< whole, CRLF at the end, no dot stuffed
  std::size_t name_size = 0;  ///< 0: no field, a line that nobody is told of and that stays where it is
  std::string_view name() const { return std::string_view{text}.substr(0, name_size); }
};

/// Fields count from one, as libmilter has them. The first is our own Received, which filters are not told of: index 0
/// of an insertion lies in front of it, 1 behind it.
class HeaderSection {
 public:
  HeaderSection() = default;
  /// `stored`: the whole section in stored form (dots stuffed), its empty line included if it has one.
  explicit HeaderSection(std::string_view stored);

  /// Without our own Received.
  std::size_t size() const { return fields_.empty() ? 0 : fields_.size() - 1; }
  const HeaderField& field(std::size_t number) const { return fields_[number < own_ ? number : number + 1]; }
  /// As a filter is told: lines end with LF alone, as in Sendmail.
  static std::string value_for_filter(const HeaderField& field, LeadingSpace space);

  void add(std::string_view name, std::string_view value, LeadingSpace space);
  void insert(std::uint32_t index, std::string_view name, std::string_view value, LeadingSpace space);
  /// The so-manieth field of this name, not counting our own Received, gets this value; one that is not there is added.
  /// An empty value takes it away.
  void change(std::uint32_t index, std::string_view name, std::string_view value, LeadingSpace space);
  bool changed() const { return changed_; }
  /// A body follows that was not there, so the empty line has to be.
  void end_with_empty_line() { ended_ = true; }

  struct Stored {
    std::string octets;             ///< dots stuffed
    std::uint64_t real_octets = 0;  ///< without them
  };
  Stored format() const;
  std::uint64_t real_octets() const;
  /// Of all fields; what is added is bounded by whoever adds.
  std::uint64_t octets() const { return octets_; }

 private:
  void put(std::size_t at, std::string_view name, std::string_view value, LeadingSpace space);
  std::vector<HeaderField> fields_;
  std::size_t own_ = 0;  ///< where our own Received stands
  std::uint64_t octets_ = 0;
  bool ended_ = false;
  bool changed_ = false;
};

}  // namespace smtpd::milter

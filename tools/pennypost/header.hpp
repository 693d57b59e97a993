#pragma once

#include <string>
#include <string_view>
#include <vector>

/// Mail as it lies in the store, made readable: header fields unfolded, stuffed dots taken away. No I/O.
namespace tools {

struct HeaderField {
  std::string name;
  std::string value;  ///< unfolded, without the blanks around it; as it came otherwise
};

/// The fields up to the empty line or the end of `text`; a line that is no field ends them. A field that `text` cuts
/// off is left out unless `whole`.
std::vector<HeaderField> parse_header(std::string_view text, bool whole);
/// The first field of that name (no regard to case); empty: there is none.
std::string field_value(const std::vector<HeaderField>& fields, std::string_view name);

/// Takes the dots away that RFC 5321 4.5.2 put in front of lines; fed any cut of the message, in order.
class Unstuffer {
 public:
  void append(std::string_view stored, std::string& out);

 private:
  enum class Seen : unsigned char { line_start, middle, cr } seen_ = Seen::line_start;
};

}  // namespace tools

#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// The header section of a message that is here already, field by field (RFC 5322 2.2). No I/O.
namespace smtpd {

struct HeaderField {
  std::string_view name;  ///< as it was written
  std::string_view body;  ///< behind the colon, folded as it came, without the last line end
};

/// Calls `each` for the fields up to the empty line, or as far as `header` goes: a last field without its line end is
/// left out. Lines that are no field are passed over.
void for_each_field(std::string_view header, const std::function<void(const HeaderField&)>& each);
/// `name`: in small letters.
bool is_named(const HeaderField& field, std::string_view name);
/// On one line, without the blanks around it.
std::string unfolded(std::string_view body);
/// In canonical form, the addresses of an address list (RFC 5322 3.4), also of one that is malformed elsewhere;
/// comments and names are passed over. At most `most`.
std::vector<std::string> find_addresses(std::string_view body, std::size_t most);

/// Keeps the beginning of a message while it streams by: the header section, up to `most` octets of it.
class HeaderKeeper {
 public:
  explicit HeaderKeeper(std::size_t most) : most_(most) {}
  void append(std::string_view octets);
  std::string take() { return std::move(text_); }

 private:
  std::size_t most_;
  std::string text_;
  bool over_ = false;
};

}  // namespace smtpd

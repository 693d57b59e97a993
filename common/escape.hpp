#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace common {

/// Text from a peer made safe for a log line or a terminal: control octets, 8-bit octets that are not valid UTF-8, DEL,
/// C1 controls, bidirectional overrides, backslash and double quote as \xNN (or \n, \r, \t, \\, \"). At most `limit`
/// octets, "..." behind a cut.
std::string escape(std::string_view text, std::size_t limit = 512);
/// The same, put behind `out`.
void append_escaped(std::string& out, std::string_view text, std::size_t limit = 512);
/// The same as the inside of a JSON string (RFC 8259 7): what text escapes with \xNN is \u00NN here, and an octet that
/// is not UTF-8 stands as the text \xNN.
void append_json_escaped(std::string& out, std::string_view text, std::size_t limit = 512);
/// True for printable ASCII without backslash and double quote: what both forms leave as it is.
bool is_plain(std::string_view text);

}  // namespace common

#include "tools/pennypost/output.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <string>

#include "tools/pennypost/limits.hpp"

namespace {

TEST_CASE("what a terminal would obey is escaped, what people read is not") {
  CHECK(tools::shown("\"quoted\" C:\\path\tand tab") == "\"quoted\" C:\\path\tand tab");
  CHECK(tools::shown("\x1b[2J") == "\\x1B[2J");
  CHECK(tools::shown("a\r\nb") == "a\\r\\nb");
  CHECK(tools::shown("gr\xC3\xBC\xC3\x9F") == "gr\xC3\xBC\xC3\x9F");
  CHECK(tools::shown("\xC2\x9B") != "\xC2\x9B");
  CHECK(tools::shown(std::string(5000, '\x01')).size() == 20000);
  CHECK(tools::shown("").empty());
}

TEST_CASE("JSON is ASCII whatever goes in") {
  CHECK(tools::json_text(std::string_view("a\"b\\c\n\x1b\x7f")) == R"("a\"b\\c\n\u001b\u007f")");
  CHECK(tools::json_text(std::string_view("\xC2\x9B\xE2\x80\xAE")) == R"("\u009b\u202e")");
  CHECK(tools::json_text(std::string_view("\xFFx")) == R"("\ufffdx")");
  CHECK(tools::json_text(std::vector<std::string>{"a", "b"}) == R"(["a", "b"])");
  CHECK(tools::json_text(std::vector<std::string>{}) == "[]");
}

TEST_CASE("times, sizes and counts for people") {
  CHECK(tools::format_time(0) == "1970-01-01T00:00:00Z");
  CHECK(tools::format_time(1'709'210'096'999'999) == "2024-02-29T12:34:56Z");
  CHECK(tools::format_octets(0) == "0 B");
  CHECK(tools::format_octets(1023) == "1023 B");
  CHECK(tools::format_octets(1024) == "1.0 KB");
  CHECK(tools::format_octets((1U << 20U) - 1) == "1.0 MB");
  CHECK(tools::format_octets(std::uint64_t{5} << 30U) == "5.0 GB");
  CHECK(tools::format_octets(std::numeric_limits<std::uint64_t>::max()) == "16.0 EB");
  CHECK(tools::counted(1, "mailbox") == "1 mailbox");
  CHECK(tools::counted(0, "message") == "0 messages");
  CHECK(tools::counted(2, "mailbox") == "2 mailboxes");
  CHECK(tools::counted(2, "alias") == "2 aliases");
}

TEST_CASE("sizes as they are typed") {
  CHECK(tools::parse_size("0") == 0);
  CHECK(tools::parse_size("50MB") == std::uint64_t{50} << 20U);
  CHECK(tools::parse_size("16777216GB") == std::uint64_t{1} << 54U);
  for (const auto* text :
       {"", "MB", "-1", "+1", "1.5GB", "5 MB", "5mb", "18446744073709551616", "18014398509481984KB"}) {
    CAPTURE(text);
    CHECK(!tools::parse_size(text));
  }
}

}  // namespace

#include "smtpd/milter/header_section.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace smtpd::milter;

namespace {

constexpr std::string_view received = "Received: from a\r\n\tby us\r\n";

std::string stored(const HeaderSection& section) {
  const auto formatted = section.format();
  CHECK(formatted.real_octets == section.real_octets());
  return formatted.octets;
}

HeaderSection section_of(std::string_view rest) {
  return HeaderSection{std::string{received} + std::string{rest}};
}

}  // namespace

TEST_CASE("a section that is not changed comes out as it went in (S97)") {
  for (const std::string_view rest :
       {"\r\n", "", "A: b\r\n\r\n", "A: b\r\n c\r\nB:\r\n\r\n", "A: b\r\n", "no field\r\nA: b\r\n\r\n",
        "..dot: a\r\n\r\n", "A : b\r\n\r\n", " begins with a space\r\n\r\n", "A: b\r\n ..c\r\n...d: e\r\n\r\n"}) {
    const auto section = section_of(rest);
    CHECK(stored(section) == std::string{received} + std::string{rest});
    CHECK_FALSE(section.changed());
  }
  CHECK(stored(HeaderSection{""}).empty());
}

TEST_CASE("what a filter is told of a field") {
  const auto section = section_of("A: b\r\n\tc\r\nB:  two\r\nC:\tt\r\nD:\r\n..e:f\r\nno field\r\n\r\n");
  REQUIRE(section.size() == 6);
  using enum LeadingSpace;
  const auto told = [&](std::size_t number, LeadingSpace space) {
    return HeaderSection::value_for_filter(section.field(number), space);
  };
  CHECK(section.field(0).name() == "A");
  CHECK(told(0, separate) == "b\n\tc");
  CHECK(told(0, part_of_value) == " b\n\tc");
  CHECK(told(1, separate) == " two");
  CHECK(told(2, separate) == "\tt");
  CHECK(told(3, separate).empty());
  CHECK(section.field(4).name() == ".e");
  CHECK(told(4, separate) == "f");
  CHECK(section.field(5).name_size == 0);
}

TEST_CASE("places are counted with our own Received, which nobody changes") {
  using enum LeadingSpace;
  auto section = section_of("A: 1\r\nReceived: theirs\r\nA: 2\r\n\r\n");
  section.insert(1, "One", "behind ours", separate);
  section.insert(0, "Top", "in front", separate);
  section.insert(99, "Last", "x", separate);
  section.change(1, "received", "other", separate);
  section.change(2, "a", "3", part_of_value);
  section.change(0, "A", "4", separate);
  section.change(7, "New", "5", separate);
  section.change(7, "Never", "", separate);
  CHECK(stored(section) == "Top: in front\r\n" + std::string{received} +
                               "One: behind ours\r\nA: 4\r\nReceived: other\r\nA:3\r\nLast: x\r\nNew: 5\r\n\r\n");
  CHECK(section.changed());
  CHECK(section.size() == 7);
  CHECK(section.field(0).name() == "Top");
  CHECK(section.field(1).name() == "One");
  section.change(1, "top", "", separate);
  CHECK(section.field(0).name() == "One");
  section.change(1, "Received", "", separate);
  section.change(1, "Received", "", separate);
  CHECK(stored(section).starts_with(received));
}

TEST_CASE("no value of a filter ends the section or begins another field") {
  using enum LeadingSpace;
  auto section = section_of("\r\n");
  section.add("A", "b\nEvil: c\r\n\r\nbody\n\td\r\n", separate);
  section.add(".B", "\n\n", separate);
  section.add("C", "", part_of_value);
  CHECK(stored(section) == std::string{received} + "A: b\r\n\tEvil: c\r\n\t\r\n\tbody\r\n\td\r\n..B: \r\nC:\r\n\r\n");
}

TEST_CASE("a body that was not there gets its empty line") {
  auto section = section_of("A: b\r\n");
  section.end_with_empty_line();
  CHECK(stored(section) == std::string{received} + "A: b\r\n\r\n");
}

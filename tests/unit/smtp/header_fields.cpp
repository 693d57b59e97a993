#include "smtpd/protocol/header_fields.hpp"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

using namespace smtpd;

namespace {

std::vector<std::pair<std::string, std::string>> fields_of(std::string_view header) {
  std::vector<std::pair<std::string, std::string>> fields;
  for_each_field(header, [&](const HeaderField& field) { fields.emplace_back(field.name, unfolded(field.body)); });
  return fields;
}

}  // namespace

TEST_CASE("fields of a header section") {
  using Fields = std::vector<std::pair<std::string, std::string>>;
  CHECK(fields_of("").empty());
  CHECK(fields_of("To: a\r\nCc : b\r\n\r\nSubject: not any more\r\n") == Fields{{"To", "a"}, {"Cc", "b"}});
  CHECK(fields_of("To: a,\r\n\tb,\r\n  c\r\nX:\r\n") == Fields{{"To", "a,\tb,  c"}, {"X", ""}});
  CHECK(fields_of("no field\r\nTo: a\r\n: none\r\nb\xC3\xA4: c\r\n") == Fields{{"To", "a"}});
  CHECK(fields_of("To: a\r\nCut: off in the mid") == Fields{{"To", "a"}});
  CHECK(fields_of("\r\nTo: a\r\n").empty());
}

TEST_CASE("addresses of a list") {
  struct Row {
    std::string body;
    std::vector<std::string> want;
  };
  const std::vector<Row> rows = {
      {" Ann@Example.test", {"ann@example.test"}},
      {" Ann <ann@example.test>, bob@example.test", {"ann@example.test", "bob@example.test"}},
      {" \"x@y.test\" <ann@example.test>", {"ann@example.test"}},
      {" \"a b\"@example.test", {"\"a b\"@example.test"}},
      {" (carl@example.test (really)) ann@example.test", {"ann@example.test"}},
      {" team: ann@example.test, bob@example.test;", {"ann@example.test", "bob@example.test"}},
      {" undisclosed-recipients:;", {}},
      {" <@relay.test:ann@example.test>", {"ann@example.test"}},
      {" ann@example.test,\r\n\tbob@example.test", {"ann@example.test", "bob@example.test"}},
      {" \"never closed ann@example.test", {}},
      {" (never closed ann@example.test", {}},
      {" @, @@, a@, @b, <>, ann", {}},
  };
  for (const auto& row : rows) {
    CAPTURE(row.body);
    CHECK(find_addresses(row.body, 100) == row.want);
  }
  CHECK(find_addresses("a@x.test, b@x.test, c@x.test", 2).size() == 2);
}

TEST_CASE("a header section is kept while the message streams by, in whatever pieces") {
  const std::string message = "To: a\r\nCc: b\r\n\r\nbody\r\n\r\n";
  for (std::size_t piece = 1; piece <= message.size(); ++piece) {
    HeaderKeeper keeper{100};
    for (std::size_t at = 0; at < message.size(); at += piece)
      keeper.append(std::string_view{message}.substr(at, piece));
    CHECK(keeper.take() == "To: a\r\nCc: b\r\n");
  }
  HeaderKeeper few{8};
  few.append(message);
  CHECK(few.take() == "To: a\r\nC");
  HeaderKeeper none{0};
  none.append(message);
  CHECK(none.take().empty());
}

#include "common/auth/apop.hpp"

#include <set>
#include <string>

#include <doctest/doctest.h>

using common::auth::check_apop;
using common::auth::make_apop_stamp;

TEST_CASE("the example of RFC 1939 7") {
  const std::string stamp = "<1896.697170952@dbc.mtview.ca.us>", right = "c4c9334bac560ecc979e58001b3e22fb";
  CHECK(check_apop(stamp, "tanstaaf", right));
  CHECK_FALSE(check_apop(stamp, "tanstaaff", right));
  CHECK_FALSE(check_apop(stamp, "", right));
  CHECK_FALSE(check_apop("", "tanstaaf", right));
  CHECK_FALSE(check_apop(stamp, "tanstaaf", ""));
  for (std::size_t at = 0; at < right.size(); ++at) {
    auto digest = right;
    digest[at] = digest[at] == '0' ? '1' : '0';
    CHECK_FALSE(check_apop(stamp, "tanstaaf", digest));
    CHECK_FALSE(check_apop(stamp, "tanstaaf", right.substr(0, at)));
  }
  // MD5 of the stamp alone: who has no secret is not let in by an empty one.
  CHECK_FALSE(check_apop(stamp, "", common::auth::apop_digest(stamp, "")));
}

TEST_CASE("stamps are message ids of RFC 822 that nobody can guess") {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const auto stamp = make_apop_stamp("mail.example.test");
    CHECK(stamp.size() == 1 + 32 + 1 + 17 + 1);
    CHECK(stamp.ends_with("@mail.example.test>"));
    CHECK(stamp.find_first_not_of("0123456789abcdef", 1) == 33);
    seen.insert(stamp);
  }
  CHECK(seen.size() == 1000);
}

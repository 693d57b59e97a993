#include "smtpd/outbound/masquerade.hpp"

#include <doctest/doctest.h>

#include "tests/unit/smtp/fake_directory.hpp"

using namespace smtpd::outbound;

TEST_CASE("the reverse-path on its way out (S65)") {
  FakeDirectory directory;
  directory.add_domain("inside.test");
  directory.add_domain("other.test", "inside.test");
  directory.add_remote_domain("far.test", {});
  struct Row {
    std::string path, authenticated, masquerade, want, why;
  };
  const Row rows[] = {
      {"ann@inside.test", "ann@inside.test", "face.test", "ann@face.test", "a domain of ours"},
      {"Ann.B@inside.test", "ann@inside.test", "face.test", "Ann.B@face.test", "the local part stays as it is"},
      {"\"a@b\"@inside.test", "ann@inside.test", "face.test", "\"a@b\"@face.test", "quoted, with an @"},
      {"ann@other.test", "ann@inside.test", "face.test", "ann@face.test", "an alias domain of ours"},
      {"ann@inside.test", "ann@inside.test", "inside.test", "ann@inside.test", "the same name"},
      {"ann@inside.test", "ann@inside.test", "", "ann@inside.test", "nothing is set"},
      {"ann@inside.test", "", "face.test", "ann@inside.test", "a stranger's, passed on by an alias"},
      {"ann@far.test", "ann@inside.test", "face.test", "ann@far.test", "a remote domain is not ours"},
      {"ann@else.test", "ann@inside.test", "face.test", "ann@else.test", "a domain that nobody knows"},
      {"ann@sub.inside.test", "ann@inside.test", "face.test", "ann@sub.inside.test", "below a domain of ours"},
      {"", "ann@inside.test", "face.test", "", "the null reverse-path"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    mailstore::Envelope envelope;
    envelope.reverse_path = row.path;
    envelope.authenticated = row.authenticated;
    const auto got = leaving_path(directory, envelope, row.masquerade);
    REQUIRE(got);
    CHECK(*got == row.want);
  }
  directory.broken = true;
  mailstore::Envelope envelope;
  envelope.reverse_path = envelope.authenticated = "ann@inside.test";
  CHECK_FALSE(leaving_path(directory, envelope, "face.test"));
}

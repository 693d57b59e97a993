#include "tools/sendmail/mailq.hpp"

#include <doctest/doctest.h>

#include <string>

using tools::sendmail::MailQueue;

namespace {

std::string shown(std::initializer_list<std::string_view> lines) {
  MailQueue queue;
  std::string text;
  for (const auto line : lines) text += queue.add(line);
  return text + queue.finish();
}

}  // namespace

TEST_CASE("the queue as mailq shows it") {
  CHECK(shown({"[]"}) == "Mail queue is empty\n");
  CHECK(shown({"[", "]"}) == "Mail queue is empty\n");
  const auto text = shown({
      R"([{"id": "abc", "recipient": "b@far.test", "reverse_path": "a@near.test", "octets": 1500, "accepted": "2026-11-25T12:00:00Z", "state": "waiting", "answer": "451 later"},)",
      R"({"id": "abc", "recipient": "c@far.test", "reverse_path": "a@near.test", "octets": 1500, "accepted": "2026-11-25T12:00:00Z", "state": "waiting", "answer": "451 later"},)",
      R"({"id": "def", "recipient": "d@else.test\u001b", "reverse_path": "", "octets": 10, "accepted": "no time", "state": "held", "answer": null})",
      "]",
  });
  CHECK(text.starts_with("-Queue ID-"));
  CHECK(text.contains("abc       1500 "));
  CHECK(text.contains("  a@near.test\n                (451 later)\n"));
  CHECK(text.contains(std::string(46, ' ') + "b@far.test\n" + std::string(46, ' ') + "c@far.test\n\ndef!"));
  CHECK(text.contains("MAILER-DAEMON\n"));
  CHECK(text.contains("d@else.test\\x1B\n"));
  CHECK(text.ends_with("\n-- 2 Kbytes in 2 Requests.\n"));
}

// A whole POP3 conversation over a maildrop in memory: the first octet chooses the rules, the rest is what the client
// sends. Nothing is removed but by QUIT, and octet by octet the answers are those to the whole.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "tests/unit/pop3/desk.hpp"

namespace {

pop3d::test::Desk make_desk(unsigned rules) {
  pop3d::test::Desk desk;
  auto& mailbox = desk.mailboxes["a"];
  mailbox.password = "b";
  mailbox.messages = {{"Subject: one\r\n\r\n..\r\n", 18}, {"\r\n", 2}, {"x\r\n\r\n", 5}};
  desk.mailboxes["l"] = {"b", {}, true, false};
  desk.rules.mechanisms.emplace_back("CRAM-MD5");
  desk.rules.require_tls = (rules & 1U) != 0;
  desk.rules.only_tls = (rules & 2U) != 0;
  desk.rules.tls_available = (rules & 4U) != 0;
  desk.store_fails = (rules & 8U) != 0;
  desk.removal_fails = (rules & 16U) != 0;
  if ((rules & 32U) != 0) desk.stamp = "<1@mail.example.test>";
  if ((rules & 64U) != 0) desk.rules.retrieved = pop3d::Retrieved::noted;
  if ((rules & 128U) != 0) desk.rules.retrieved = pop3d::Retrieved::removed;
  return desk;
}

bool mentions(std::string_view text, std::string_view word) {
  const auto same = [](char a, char b) { return (a >= 'a' && a <= 'z' ? a - ('a' - 'A') : a) == b; };
  return std::search(text.begin(), text.end(), word.begin(), word.end(), same) != text.end();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view octets{reinterpret_cast<const char*>(data) + 1, size - 1};
  auto whole = make_desk(data[0]);
  const auto said = whole.feed(octets);
  if (!said.starts_with("+OK ")) std::abort();
  if (!(whole.removed.empty() && whole.noted.empty()) && whole.close_reason != "quit") std::abort();
  // Challenges differ, and what is thrown away behind STLS depends on the cut.
  if (mentions(octets, "CRAM") || mentions(octets, "STLS")) return 0;
  auto slow = make_desk(data[0]);
  std::string slowly = slow.feed("");
  for (const char& octet : octets) slowly += slow.feed({&octet, 1});
  if (slowly != said || slow.removed != whole.removed || slow.closed != whole.closed) std::abort();
  return 0;
}

#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/unit/smtp/talk.hpp"

/// A conversation written down: "C: " sends a line, "C| " octets as they stand with \r \n \0 \xNN, "S: " is a reply
/// line, "S~ " one with a *.
struct Script {
  std::string octets;
  std::vector<std::string> replies;
};

inline Script parse_script(std::string_view text) {
  Script script;
  while (!text.empty()) {
    auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    while (line.starts_with(' ')) line.remove_prefix(1);
    if (line.starts_with("C: ") || line == "C:") {
      script.octets += line.substr(std::min<std::size_t>(3, line.size()));
      script.octets += "\r\n";
    } else if (line.starts_with("C| ")) {
      for (std::size_t i = 3; i < line.size(); ++i) {
        if (line[i] != '\\') {
          script.octets += line[i];
          continue;
        }
        const char c = line[++i];
        if (c == 'x') {
          script.octets += static_cast<char>(std::stoi(std::string{line.substr(i + 1, 2)}, nullptr, 16));
          i += 2;
        } else {
          script.octets += c == 'r' ? '\r' : c == 'n' ? '\n' : c == '0' ? '\0' : c;
        }
      }
    } else if (line.starts_with("S: ") || line.starts_with("S~ ")) {
      script.replies.emplace_back(line);
    } else {
      REQUIRE(line.empty());
    }
  }
  return script;
}

inline bool matches(std::string_view want, std::string_view reply) {
  const bool glob = want[1] == '~';
  want.remove_prefix(3);
  const auto star = want.find('*');
  if (!glob || star == std::string_view::npos) return want == reply;
  const auto front = want.substr(0, star), back = want.substr(star + 1);
  return reply.size() >= front.size() + back.size() && reply.starts_with(front) && reply.ends_with(back);
}

inline void check_replies(const Script& script, std::string_view replies) {
  std::size_t next = 0;
  while (!replies.empty()) {
    const auto end = replies.find("\r\n");
    REQUIRE(end != std::string_view::npos);
    const auto reply = replies.substr(0, end);
    replies.remove_prefix(end + 2);
    CAPTURE(std::string{reply});
    REQUIRE_MESSAGE(next < script.replies.size(), "a reply too many");
    CAPTURE(script.replies[next]);
    CHECK(matches(script.replies[next], reply));
    ++next;
  }
  if (next < script.replies.size()) FAIL_CHECK("missing: " << script.replies[next]);
}

/// Runs the script whole and in small pieces; `then` looks at each outcome.
inline void run_script(const smtpd::Terms& terms, FakeDirectory& directory, std::string_view text,
                       const std::function<void(Talk&)>& then = {}, const std::function<void(Talk&)>& given = {}) {
  const Script script = parse_script(text);
  for (const std::size_t piece : {script.octets.size() + 1, std::size_t{1}, std::size_t{7}}) {
    CAPTURE(piece);
    Talk talk{terms, directory};
    if (given) given(talk);
    for (std::size_t at = 0; at < script.octets.size() && talk.open; at += piece)
      talk.feed(std::string_view{script.octets}.substr(at, piece));
    check_replies(script, talk.replies);
    if (then) then(talk);
  }
}

#pragma once

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "smtpd/outbound/client_conversation.hpp"

/// A client's conversation with a peer of the test's own making, in memory. For the unit tests and the fuzzer.
namespace test {

using namespace smtpd::outbound;

/// What the peer does next: says something (CRLF is put in the place of each '\n'), or an event.
struct Event {
  enum Kind { says, closes, stalls, shakes_hands, breaks_tls } kind = says;
  std::string text;
};
inline Event says(std::string_view text) {
  Event event;
  for (const char c : text) {
    if (c == '\n') event.text += '\r';
    event.text += c;
  }
  event.text += "\r\n";
  return event;
}
inline Event closes() {
  return {Event::closes, {}};
}
inline Event stalls() {
  return {Event::stalls, {}};
}
inline Event shakes_hands() {
  return {Event::shakes_hands, {}};
}
inline Event breaks_tls() {
  return {Event::breaks_tls, {}};
}

class Dialogue {
 public:
  explicit Dialogue(ClientTerms terms = {.hostname = "us.test", .security = Security::none, .timeouts = {}},
                    Attempt attempt = Attempt::first)
      : conversation(std::make_shared<const ClientTerms>(std::move(terms)), attempt) {
    step = conversation.start();
  }

  /// The peer does all this, each thing when it is waited for (or, what it says, at once). Gives what the client sent
  /// meanwhile, "[message]" and "[7bit]" for a message.
  std::string play(const std::vector<Event>& events) {
    sent.clear();
    settle();
    for (const auto& event : events) {
      if (event.kind == Event::says) {
        waits.push_back(patience());
        // Octet by octet the conversation must come to the same.
        for (std::size_t at = 0; at < event.text.size(); at += piece) {
          step = conversation.on_octets(std::string_view{event.text}.substr(at, piece));
          settle();
        }
      } else if (event.kind == Event::closes) {
        step = conversation.on_lost(ClientConversation::Loss::closed, "");
      } else if (event.kind == Event::stalls) {
        step = conversation.on_lost(ClientConversation::Loss::timeout, "");
      } else if (event.kind == Event::shakes_hands) {
        step = conversation.on_secured(channel);
      } else {
        step = conversation.on_tls_failed("no common cipher");
      }
      settle();
    }
    return sent;
  }

  std::string send(const std::vector<Event>& events) {
    sent.clear();
    step = conversation.send(message, answers);
    return play_on(events);
  }

  std::string ask(std::string command, const std::vector<Event>& events) {
    sent.clear();
    step = conversation.ask(std::move(command));
    return play_on(events);
  }

  std::chrono::milliseconds patience() const {
    const auto* exchange = std::get_if<Exchange>(&step);
    return exchange == nullptr ? std::chrono::milliseconds{-1} : exchange->patience;
  }
  bool rests() const { return std::holds_alternative<Rest>(step); }
  bool done() const { return std::holds_alternative<Done>(step); }

  ClientConversation conversation;
  Step step;
  Message message = [] {
    Message made;
    made.id = "id";
    made.reverse_path = "ann@us.test";
    made.octets = 100;
    made.stored_octets = 102;
    made.stuffed = true;
    made.recipients = {{"bob@there.test", 0, {}}};
    return made;
  }();
  std::vector<Answer> answers;
  Examination examination;
  common::auth::Channel channel{.secure = true, .exporter = {}, .unique = {}};
  std::string sent;
  std::vector<std::chrono::milliseconds> waits;
  std::size_t piece = SIZE_MAX;
  bool lose_message = false;  ///< the connection breaks while the message is sent

 private:
  std::string play_on(const std::vector<Event>& events) {
    settle();
    const auto before = sent;
    return before + play(events);
  }

  void settle() {
    for (;;) {
      sent += conversation.output();
      conversation.sent();
      if (const auto* transmit = std::get_if<Transmit>(&step)) {
        if (lose_message) {
          step = conversation.on_lost(ClientConversation::Loss::closed, "");
          continue;
        }
        sent += transmit->form == Form::stored ? "[message]" : "[7bit]";
        if (transmit->closing == Closing::dot) sent += ".\r\n";
        step = conversation.on_transmitted();
      } else if (std::holds_alternative<Examine>(step)) {
        step = conversation.on_examined(examination);
      } else {
        return;
      }
    }
  }
};

}  // namespace test

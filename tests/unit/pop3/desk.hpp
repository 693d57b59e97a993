#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/auth/apop.hpp"
#include "common/auth/password.hpp"
#include "common/auth/scram.hpp"
#include "pop3d/protocol/reply.hpp"
#include "pop3d/session/conversation.hpp"
#include "pop3d/session/listing.hpp"
#include "pop3d/session/numbering.hpp"

namespace pop3d::test {

struct FakeMessage {
  std::string stored;  ///< as it travels: dot-stuffed
  std::uint64_t octets = 0;
};

struct FakeMailbox {
  std::string password;
  std::vector<FakeMessage> messages;
  bool locked = false;
  bool in_use = false;
  bool too_soon = false;
};

/// Does for a conversation what a session does, in memory: the same core, no socket, no store.
class Desk final : public Entries {
 public:
  Rules rules{"mail.example.test", {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"}, false, false, true, 20};
  std::map<std::string, FakeMailbox> mailboxes;
  bool store_fails = false;
  bool removal_fails = false;
  bool overloaded = false;
  std::string stamp;  ///< for APOP; its secret, and CRAM-MD5's, is the password here

  /// Everything that is said in answer to `octets`. Nothing behind the end of the session.
  std::string feed(std::string_view octets) {
    std::string out;
    if (!conversation_) {
      conversation_.emplace(rules, false);
      conversation_->greet(out, stamp);
    }
    while (!closed) {
      const auto line = lines_.take(octets);
      if (!line) break;
      auto step = conversation_->on_line(*line, out);
      while (!std::holds_alternative<Proceed>(step)) step = perform(step, octets, out);
    }
    return out;
  }

  mailstore::Result<std::size_t> list(std::optional<mailstore::MessageId> after,
                                      std::span<mailstore::Entry> out) override {
    if (store_fails) return mailstore::fail(mailstore::Errc::unavailable, "as told");
    std::uint64_t next = after ? after->value : 0;
    std::size_t count = 0;
    for (; next < open_->messages.size() && count < out.size(); ++next)
      out[count++] = mailstore::Entry{mailstore::MessageId{next + 1}, open_->messages[next].octets, 0, 0, next + 1, 0};
    return count;
  }

  Conversation& conversation() { return *conversation_; }
  bool closed = false;
  std::string close_reason;
  std::vector<mailstore::MessageId> removed;
  std::vector<mailstore::MessageId> noted;
  std::string last_refusal;
  std::uint64_t password_checks = 0;

 private:
  Step perform(Step& step, std::string_view& input, std::string& out) {
    if (auto* check = std::get_if<CheckPassword>(&step)) {
      ++password_checks;
      if (overloaded) return conversation_->on_login(Login::overloaded, 0, 0, out);
      const auto found = mailboxes.find(check->name);
      if (found == mailboxes.end() || found->second.password != check->password.reveal())
        return conversation_->on_login(Login::wrong, 0, 0, out);
      return open(found->second, out);
    }
    if (auto* check = std::get_if<CheckApop>(&step)) {
      const auto found = mailboxes.find(check->name);
      if (found == mailboxes.end() || !common::auth::check_apop(check->stamp, found->second.password, check->digest))
        return conversation_->on_login(Login::wrong, 0, 0, out);
      return open(found->second, out);
    }
    if (auto* question = std::get_if<FindKeys>(&step)) {
      name_ = question->name;
      common::auth::StoredKeys keys;
      const auto found = mailboxes.find(name_);
      if (found != mailboxes.end())
        keys = {
            1, "",
            common::auth::format_scram(common::auth::derive_scram(found->second.password, "0123456789abcdef", 4096)),
            found->second.password};
      return conversation_->on_keys(keys, out);
    }
    if (auto* proved = std::get_if<OpenMaildrop>(&step)) return open(mailboxes.at(proved->name), out);
    if (auto* refused = std::get_if<Refused>(&step)) {
      last_refusal = refused->why;
      if (refused->close) return Close{"errors"};
      return Proceed{};
    }
    if (std::holds_alternative<StartTls>(step)) {
      input = {};
      lines_.reset();
      conversation_->on_secure(common::auth::Channel{true, std::string(32, 'e'), ""});
      return Proceed{};
    }
    if (auto* question = std::get_if<FindMessage>(&step)) {
      const auto found = numbering_.find(*this, question->number);
      if (!found || found->answer != Numbering::Answer::found) return conversation_->on_trouble(out);
      return conversation_->on_found(*question, found->entry, out);
    }
    if (auto* send = std::get_if<SendMessage>(&step)) {
      const auto& message = open_->messages[send->entry.id.value - 1];
      if (send->lines) {
        append_reply(out, Cause::done);
        out += "top " + std::to_string(*send->lines) + "\r\n";
      } else {
        conversation_->on_retrieved(*send);
        append_octets(out, send->entry.octets);
        out += message.stored;
      }
      append_end(out);
      return Proceed{};
    }
    if (auto* listing = std::get_if<SendListing>(&step)) {
      ListingWriter writer{listing->what};
      for (bool all = false; !all;) {
        const auto result = writer.append(*this, numbering_, *conversation_, out);
        if (!result) {
          closed = true;
          return Proceed{};
        }
        all = *result;
      }
      return Proceed{};
    }
    if (std::holds_alternative<Update>(step)) {
      auto changes = conversation_->take_update();
      if (!removal_fails) removed = std::move(changes.removed);
      noted = std::move(changes.noted);
      return conversation_->on_updated(!removal_fails, out);
    }
    closed = true;
    close_reason = std::get<Close>(step).why;
    return Proceed{};
  }

  Step open(FakeMailbox& mailbox, std::string& out) {
    if (mailbox.locked) return conversation_->on_login(Login::locked, 0, 0, out);
    if (mailbox.too_soon) return conversation_->on_login(Login::too_soon, 0, 0, out);
    if (mailbox.in_use) return conversation_->on_login(Login::in_use, 0, 0, out);
    if (store_fails) return conversation_->on_login(Login::store_trouble, 0, 0, out);
    open_ = &mailbox;
    std::uint64_t octets = 0;
    for (const auto& message : mailbox.messages) octets += message.octets;
    return conversation_->on_login(Login::right, mailbox.messages.size(), octets, out);
  }

  std::optional<Conversation> conversation_;
  LineReader lines_;
  Numbering numbering_;
  FakeMailbox* open_ = nullptr;
  std::string name_;
};

}  // namespace pop3d::test

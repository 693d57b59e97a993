#pragma once

#include <optional>
#include <string>
#include <vector>

#include "smtpd/protocol/data_reader.hpp"
#include "smtpd/protocol/input.hpp"
#include "smtpd/session/conversation.hpp"

#include "tests/unit/smtp/fake_directory.hpp"

/// A session without a connection: octets in, replies out, messages into a list. What session.cpp does, in memory; for
/// tests and fuzz targets. Passwords of the fake directory stand in the clear.
class Talk {
 public:
  struct Message {
    mailstore::Envelope envelope;
    std::string stored;
    smtpd::DataFacts facts;
  };

  Talk(const smtpd::Terms& terms, FakeDirectory& directory, bool secure = false)
      : terms_(terms), directory_(directory), conversation_(terms, secure, [] { return common::auth::Channel{}; }) {
    append_reply(replies, conversation_.greeting());
  }
  Talk(const Talk&) = delete;
  Talk& operator=(const Talk&) = delete;

  void feed(std::string_view octets) {
    input_.give(octets);
    while (open && !input_.empty()) {
      if (reader_) {
        Kept kept{pending_.stored};
        input_.take(reader_->feed(input_.octets(), kept));
        if (reader_->complete()) end_message();
        continue;
      }
      const auto line = input_.next_line();
      if (!line) break;
      perform(conversation_.on_line(*line));
    }
    input_.keep();
    input_.release();
  }

  bool open = true;
  std::string replies;
  std::vector<Message> messages;
  std::optional<smtpd::Cause> store_fails;  ///< what the store answers to the next message

  smtpd::Conversation& conversation() { return conversation_; }

 private:
  struct Kept final : smtpd::DataSink {
    explicit Kept(std::string& to) : octets(to) {}
    std::string& octets;
    void append(std::string_view more) override { octets += more; }
  };

  void perform(smtpd::Step step) {
    using namespace smtpd;
    for (;;) {
      if (const auto* send = std::get_if<Send>(&step)) return append_reply(replies, send->reply);
      if (const auto* close = std::get_if<Close>(&step)) {
        append_reply(replies, close->farewell);
        open = false;
        return;
      }
      if (const auto* message = std::get_if<ReadMessage>(&step)) {
        append_reply(replies, message->go_ahead);
        DataLimits limits;
        limits.octets = terms_.message_octets;
        limits.hops = terms_.hops;
        limits.bare_newline = terms_.bare_newline;
        MissingFields missing;
        if (terms_.submission) missing = {"Date: now\r\n", "Message-ID: <id@host>\r\n"};
        reader_.emplace(limits, missing);
        pending_ = {};
        return;
      }
      if (const auto* start = std::get_if<StartTls>(&step)) {
        append_reply(replies, start->ready);
        input_.discard();
        conversation_.on_tls();
        return;
      }
      if (const auto* sender = std::get_if<CheckSender>(&step)) {
        const auto own = routing::is_address_of(directory_, sender->sender, sender->account, terms_.default_domain);
        step = conversation_.on_sender(own ? std::expected<bool, Cause>{*own} : std::unexpected(Cause::store_trouble));
      } else if (const auto* recipient = std::get_if<CheckRecipient>(&step)) {
        auto found = routing::resolve(directory_, recipient->recipient, terms_.default_domain);
        if (found && found->outcome == routing::Outcome::local) {
          found->outcome = *routing::check_room(directory_, found->targets, recipient->declared, terms_.default_domain);
        }
        std::expected<routing::Resolution, Cause> answer = std::unexpected(Cause::store_trouble);
        if (found) answer = std::move(*found);
        step = conversation_.on_recipient(*recipient, std::move(answer));
      } else if (const auto* password = std::get_if<CheckPassword>(&step)) {
        auto [keys, log_in] = find(password->account);
        if (keys.version == 0 || keys.password_hash != password->password.reveal()) {
          if (log_in.access != Access::unavailable) log_in = {};
        }
        step = conversation_.on_log_in(std::move(log_in));
      } else if (const auto* need = std::get_if<FindKeys>(&step)) {
        auto [keys, log_in] = find(need->account);
        step = conversation_.on_keys(keys, std::move(log_in));
      }
    }
  }

  struct Found {
    common::auth::StoredKeys keys;
    smtpd::LogIn log_in;
  };
  Found find(const std::string& name) {
    auto account = smtpd::routing::find_account(directory_, name, terms_.default_domain);
    Found found;
    if (!account) {
      found.log_in.access = smtpd::Access::unavailable;
    } else if (*account) {
      const auto& mailbox = (*account)->mailbox;
      found.keys = {mailbox.credential.version, mailbox.credential.password_hash, mailbox.credential.scram_sha256};
      found.log_in = {(*account)->locked ? smtpd::Access::locked : smtpd::Access::granted,
                      {mailbox.number, mailbox.address}};
    }
    return found;
  }

  void end_message() {
    smtpd::MessageEnd end;
    end.refused = reader_->fault() ? reader_->fault() : store_fails;
    if (!end.refused) {
      end.id = "id" + std::to_string(messages.size() + 1);
      end.octets = reader_->facts().octets;
      pending_.facts = reader_->facts();
      pending_.envelope = conversation_.transaction()->envelope;
      messages.push_back(std::move(pending_));
    }
    reader_.reset();
    perform(conversation_.on_message(end));
  }

  const smtpd::Terms& terms_;
  FakeDirectory& directory_;
  smtpd::Conversation conversation_;
  smtpd::Input input_;
  std::optional<smtpd::DataReader> reader_;
  Message pending_;
};

#pragma once

#include <algorithm>
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
      if (skipping_) {
        skip();
        continue;
      }
      if (chunk_) {
        take_chunk();
        continue;
      }
      if (reader_) {
        Kept kept{pending_.stored};
        input_.take(reader_->feed(input_.octets(), kept));
        if (reader_->complete()) end_message(*reader_);
        continue;
      }
      const auto line = input_.next_line();
      if (!line) break;
      smtpd::Step step = conversation_.on_line(*line);
      if (chunks_ && !conversation_.in_chunks() && !std::holds_alternative<smtpd::ReadChunk>(step)) chunks_.reset();
      perform(std::move(step));
    }
    input_.keep();
    input_.release();
  }

  bool open = true;
  std::string replies;
  std::vector<Message> messages;
  std::optional<smtpd::Cause> store_fails;  ///< what the store answers to the next message
  /// What the DNS says of names in HELO: they lead to the client, unless told otherwise.
  std::expected<bool, smtpd::Cause> helo_leads_here = true;
  std::string helo_asked;  ///< the last name that was looked up
  // What the queue says to ETRN, ATRN and TURN, and what it was last asked.
  smtpd::outbound::RunAnswer run_answer{};
  smtpd::outbound::TurnAnswer turn_answer = smtpd::outbound::TurnAnswer::refused;
  std::string asked;

  smtpd::Conversation& conversation() { return conversation_; }

 private:
  struct Kept final : smtpd::DataSink {
    explicit Kept(std::string& to) : octets(to) {}
    std::string& octets;
    void append(std::string_view more) override { octets += more; }
  };

  void send(const smtpd::Send& answer) {
    for (std::uint64_t i = 0; i < answer.copies; ++i) append_reply(replies, answer.reply);
  }

  void skip() {
    const auto taken = std::min<std::uint64_t>(skipping_->octets, input_.octets().size());
    input_.take(taken);
    skipping_->octets -= taken;
    end_skip();
  }
  void end_skip() {
    if (skipping_->octets != 0) return;
    const auto answer = std::move(skipping_->answer);
    skipping_.reset();
    send(answer);
  }
  void take_chunk() {
    const auto piece = input_.octets().substr(0, chunk_left_);
    Kept kept{pending_.stored};
    chunks_->feed(piece, kept);
    chunk_left_ -= piece.size();
    input_.take(piece.size());
    end_chunk();
  }
  void end_chunk() {
    if (chunk_left_ != 0) return;
    const smtpd::Chunk chunk = *chunk_;
    chunk_.reset();
    Kept kept{pending_.stored};
    if (chunk.last) chunks_->finish(kept);
    if (chunk.last) return end_message(*chunks_);
    const auto fault = chunks_->fault();
    if (fault) chunks_.reset();
    perform(conversation_.on_chunk(chunk, fault));
  }

  smtpd::DataReader make_reader(smtpd::Framing framing) {
    smtpd::DataLimits limits;
    limits.octets = terms_.message_octets;
    limits.hops = terms_.hops;
    limits.bare_newline = terms_.bare_newline;
    smtpd::MissingFields missing;
    if (terms_.submission) missing = {"Date: now\r\n", "Message-ID: <id@host>\r\n"};
    pending_ = {};
    return smtpd::DataReader{limits, missing, framing};
  }

  void perform(smtpd::Step step) {
    using namespace smtpd;
    for (;;) {
      if (const auto* answer = std::get_if<Send>(&step)) return send(*answer);
      if (const auto* close = std::get_if<Close>(&step)) {
        append_reply(replies, close->farewell);
        open = false;
        return;
      }
      if (const auto* message = std::get_if<ReadMessage>(&step)) {
        append_reply(replies, message->go_ahead);
        reader_.emplace(make_reader(Framing::dotted));
        return;
      }
      if (const auto* read = std::get_if<ReadChunk>(&step)) {
        if (!chunks_) chunks_.emplace(make_reader(Framing::counted));
        chunk_ = read->chunk;
        chunk_left_ = read->chunk.octets;
        return end_chunk();
      }
      if (const auto* skipped = std::get_if<SkipChunk>(&step)) {
        skipping_ = *skipped;
        return end_skip();
      }
      if (const auto* start = std::get_if<StartTls>(&step)) {
        append_reply(replies, start->ready);
        input_.discard();
        conversation_.on_tls();
        return;
      }
      if (const auto* over = std::get_if<HandOver>(&step)) {
        append_reply(replies, over->ready);
        open = false;
        return;
      }
      if (auto* run = std::get_if<AskRun>(&step)) {
        asked = run->node.name;
        step = conversation_.on_run(run_answer);
        continue;
      }
      if (auto* turn = std::get_if<AskTurn>(&step)) {
        asked = turn->account;
        for (const auto& domain : turn->domains) asked += ' ' + domain;
        step = conversation_.on_turn(turn_answer);
        continue;
      }
      if (const auto* helo = std::get_if<CheckHelo>(&step)) {
        helo_asked = helo->name;
        step = conversation_.on_helo(CheckHelo{*helo}, helo_leads_here);
      } else if (const auto* sender = std::get_if<CheckSender>(&step)) {
        mailstore::Result<bool> own = true;
        if (sender->account)
          own = routing::is_address_of(directory_, sender->sender, *sender->account, terms_.default_domain);
        step = conversation_.on_sender(own ? std::expected<bool, Cause>{*own} : std::unexpected(Cause::store_trouble));
      } else if (const auto* recipient = std::get_if<CheckRecipient>(&step)) {
        auto found = routing::resolve(directory_, recipient->recipient, terms_.default_domain, recipient->relay);
        if (found && found->outcome == routing::Outcome::found) {
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
      found.keys = {mailbox.credential.version, mailbox.credential.password_hash, mailbox.credential.scram_sha256,
                    mailbox.apop_secret};
      found.log_in = {(*account)->locked ? smtpd::Access::locked : smtpd::Access::granted,
                      {mailbox.number, mailbox.address}};
    }
    return found;
  }

  void end_message(const smtpd::DataReader& reader) {
    smtpd::MessageEnd end;
    end.refused = reader.fault() ? reader.fault() : store_fails;
    if (!end.refused) {
      end.id = "id" + std::to_string(messages.size() + 1);
      end.octets = reader.facts().octets;
      pending_.facts = reader.facts();
      pending_.envelope = conversation_.transaction()->envelope;
      messages.push_back(std::move(pending_));
    }
    reader_.reset();
    chunks_.reset();
    perform(conversation_.on_message(end));
  }

  const smtpd::Terms& terms_;
  FakeDirectory& directory_;
  smtpd::Conversation conversation_;
  smtpd::Input input_;
  std::optional<smtpd::DataReader> reader_;
  std::optional<smtpd::DataReader> chunks_;
  std::optional<smtpd::Chunk> chunk_;
  std::size_t chunk_left_ = 0;
  std::optional<smtpd::SkipChunk> skipping_;
  Message pending_;
};

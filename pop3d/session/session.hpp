#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <asio/awaitable.hpp>

#include "common/auth/guard.hpp"
#include "common/auth/verifier.hpp"
#include "common/net/stream.hpp"
#include "common/net/worker.hpp"
#include "mailstore/store.hpp"
#include "pop3d/protocol/line_reader.hpp"
#include "pop3d/session/accounts.hpp"
#include "pop3d/session/conversation.hpp"
#include "pop3d/session/listing.hpp"
#include "pop3d/session/maildrop.hpp"
#include "pop3d/session/settings.hpp"
#include "pop3d/session/top.hpp"

namespace pop3d {

/// What all sessions share; outlives them.
struct PostOffice {
  mailstore::Store& store;
  common::auth::Verifier& verifier;
  common::auth::Guard& guard;
};

/// One connection from greeting to close: reads lines, does what the conversation says. Answers to commands that came
/// together leave together. Belongs to its worker's thread.
class Session {
 public:
  Session(common::net::Worker& worker, common::net::Stream stream, std::shared_ptr<const Settings> settings,
          PostOffice office);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// `tls_first`: TLS from the first octet. A peer that vanishes or keeps us waiting ends it quietly.
  asio::awaitable<void> run(bool tls_first);

 private:
  /// What there is to wait for.
  enum class Due : std::uint8_t {
    input,
    output,  ///< enough is gathered
    file,    ///< a long message, straight from its file
    turn,    ///< others of this thread first
    step,    ///< a step that waits: see `perform`
  };
  Due advance();
  std::optional<Due> perform_now();
  std::optional<Due> find_message(const FindMessage& question);
  std::optional<Due> send_message(const SendMessage& message);
  std::optional<Due> send_top(const SendMessage& message);
  std::optional<Due> send_listing(const SendListing& listing);
  void open_proved(const OpenMaildrop& step);
  void open_maildrop(const Account& account, const std::string& mechanism);
  bool too_soon(Maildrop& maildrop);
  void answer_login(Login login, std::string_view name, std::string_view mechanism);

  asio::awaitable<void> converse(bool tls_first);
  asio::awaitable<bool> read_more();
  asio::awaitable<void> flush();
  asio::awaitable<void> send_file();
  asio::awaitable<void> perform();
  /// Holds a log-in back as long as its failures before ask for; false: it is refused, or the session has ended.
  asio::awaitable<bool> admit(const std::string& name);
  common::auth::Judgement begin_attempt(const std::string& name);
  asio::awaitable<void> find_keys();
  asio::awaitable<std::optional<std::optional<Account>>> begin_login(std::string name, std::string mechanism);
  asio::awaitable<void> check_apop();
  asio::awaitable<void> check_password();
  asio::awaitable<void> update();
  asio::awaitable<void> start_tls();
  asio::awaitable<bool> accept_tls();

  void keep_input();
  void close_maildrop();
  void end(std::string_view how);
  std::string peer() const;
  void log_trouble(std::string_view event, const mailstore::Error& error) const;

  common::net::Worker& worker_;
  common::net::Stream stream_;
  std::shared_ptr<const Settings> settings_;
  PostOffice office_;
  Conversation conversation_;
  LineReader lines_;

  std::string_view input_;  ///< not yet taken: in the worker's buffer, or in rest_
  std::string rest_;        ///< what had to be kept while something waited
  bool in_rest_ = false;
  std::string out_;  ///< borrowed, see output.hpp
  Step step_;        ///< what is to be done next
  bool open_ = true;

  std::unique_ptr<Maildrop> maildrop_;
  std::unique_ptr<TopReader> top_;
  std::unique_ptr<ListingWriter> listing_;
  std::optional<mailstore::OpenMessage> file_;

  struct Proof {
    std::string name;
    std::uint64_t version = 0;  ///< of the credential that a proof is checked against
  };
  std::unique_ptr<Proof> proof_;
  std::unique_ptr<common::auth::Guard::Attempt> attempt_;  ///< a log-in that has begun

  common::Clock::Steady login_until_;
  std::string address_;  ///< of the mailbox, for the log
  std::uint64_t retrieved_ = 0;
  std::uint64_t retrieved_octets_ = 0;
  std::uint64_t removed_ = 0;
  bool ended_ = false;
};

}  // namespace pop3d

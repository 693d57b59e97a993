#pragma once

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <expected>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "mailstore/store.hpp"

#include "smtpd/folders/badmail.hpp"
#include "smtpd/folders/opened_file.hpp"
#include "smtpd/session/transaction.hpp"
#include "smtpd/session/virtual_server.hpp"

namespace smtpd::folders {

// What became of a file that was read.
/// A message, to be accepted.
struct Message {
  mailstore::Draft draft;
  Transaction transaction;
  mailstore::BodyFacts facts;
  std::string header;  ///< its beginning, where Transaction::wants_header()
  /// Whose terms hold for it; Transaction::asked is kept if that has filters.
  std::shared_ptr<const VirtualServer> server;
  std::string parameters{};  ///< of MAIL, for filters
};
/// It is none, and will be none; or it waits.
struct Unread {
  enum class Why : std::uint8_t {
    broken,
    later,
    trouble,  ///< of ours: the others have to wait as well
    busy,     ///< somebody still writes it
  } why = Why::broken;
  std::string text;
  BadmailCause cause = BadmailCause::bad_pickup_file;  ///< of one that is broken, where badmail is counted
};
using Reading = std::variant<Message, Unread>;

/// Takes files out of a folder, each exactly once, whatever dies when:
///
///   opened and read    nothing has happened
///   committed          the message is in the store, and with it, in one transaction, that this file was taken
///   unlinked           a file that is found again is known, and unlinked again
///   folder synced      it will not come back
///   forgotten          the row is no longer needed
///
/// Files whose name begins with a dot are somebody's unfinished work, and so is one that was made before our eyes,
/// until it is closed or was not written to for a minute. What is no message stays where it is, unless somebody has
/// another place for it; the log says why, once. Everything runs on one thread's io_context.
///
/// Between the commit and the unlink a file has a hidden name, so that what has come under its old name meanwhile is
/// not unlinked in its place. It is kept open until its row is forgotten: the number of an open file is given to no
/// other, and a time of birth alone is coarse (a kernel's tick) where many come and go.
///
/// A folder that was moved and made anew is noticed in the next look, and the new one is taken from.
class Taker {
 public:
  enum class Moment : std::uint8_t { opened, read, committed, hidden, unlinked, synced, forgotten };
  enum class Try : std::uint8_t { first, again };
  struct Setup {
    std::filesystem::path folder;
    std::string source;  ///< a short name for the folder: of its files in the log and in the store
    /// Reads a file that was opened.
    std::function<asio::awaitable<Reading>(const OpenedFile&)> read;
    /// Has its message accepted, once for the origin (Store::accept_once). nullopt: it is in the store.
    std::function<asio::awaitable<std::optional<Unread>>(const OpenedFile&, Message, std::string origin)> accept;
    /// Puts what is no message elsewhere; false: it stays.
    std::function<bool(int folder, const std::string& name, const Unread&, Try)> refused =
        [](int, const std::string&, const Unread&, Try) { return false; };
    std::chrono::milliseconds refused_again{0};  ///< when `refused` is asked again for what stayed; 0: never
    /// Asked before a folder that stands in the place of the first one is used. Error: a sentence.
    std::function<std::expected<void, std::string>()> check = [] { return std::expected<void, std::string>{}; };
    std::chrono::milliseconds look_again{60'000};        ///< for what had to wait
    std::function<void(Moment)> passed = [](Moment) {};  ///< told behind each step, for tests
  };
  /// `store` outlives it.
  Taker(asio::io_context& context, mailstore::Store& store, Setup setup);
  ~Taker();
  Taker(const Taker&) = delete;
  Taker& operator=(const Taker&) = delete;

  /// Locks the folder against another taker and begins to look. Error: one sentence.
  std::expected<void, std::string> start();
  /// Nothing new is begun. Once all is done the folder is another's to take from; `ended()` tells when, and then this
  /// may go.
  void stop();
  bool idle() const { return under_way_ == 0 && queue_.empty() && !settling_; }
  bool ended() const { return stopping_ && idle() && loops_ == 0; }
  std::uint64_t taken() const { return taken_.load(std::memory_order_relaxed); }

 private:
  /// One that was taken, and is held open so that its number is nobody else's.
  struct Away {
    std::string origin;
    std::unique_ptr<const OpenedFile> file;  ///< null: it was gone before the start
  };
  struct Refused {
    std::string origin;
    Unread unread;
    std::chrono::steady_clock::time_point again;
  };
  std::expected<int, std::string> open_folder();
  void follow_folder();
  void tell_trouble(const char* event, std::string what);
  void release();
  void run_loop(asio::awaitable<void> loop);
  asio::awaitable<void> watch();
  asio::awaitable<void> look_regularly();
  void on_events(std::string_view octets);
  void on_event(std::uint32_t mask, std::string name);
  bool is_unclosed(const std::string& name);
  void look();
  void add(std::string name);
  void go_on();
  asio::awaitable<void> take(std::string name);
  asio::awaitable<bool> accept(const OpenedFile& file, const std::string& name, const std::string& origin);
  void put_away(const std::string& name, std::string origin, OpenedFile file);
  void tell_stuck(const std::string& name, const char* why);
  asio::awaitable<void> settle();
  void leave(const std::string& name, const std::string& origin, const Unread& unread);
  void refuse(const std::string& name, const std::string& origin, const Unread& unread);
  void clear_away();

  asio::io_context& context_;
  mailstore::Store& store_;
  Setup setup_;
  int folder_ = -1;
  int watched_ = -1;
  std::string trouble_;  ///< with the folder itself, as it was told
  asio::posix::stream_descriptor events_;
  asio::steady_timer again_;
  std::deque<std::string> queue_;
  std::set<std::string> names_;                                            ///< in the queue or under way
  std::map<std::string, Refused> refused_;                                 ///< by name, so that each is told once
  std::map<std::string, std::chrono::steady_clock::time_point> unclosed_;  ///< by name: when it was last written
  std::vector<Away> away_;                                                 ///< unlinked, and remembered
  std::set<std::string> left_over_;  ///< remembered from before the start, and not found so far
  std::size_t under_way_ = 0;
  std::chrono::steady_clock::time_point resting_until_{};
  std::size_t loops_ = 0;
  bool settling_ = false;
  bool settle_failed_ = false;  ///< the next look tries again
  bool first_look_ = true;
  bool unsure_ = false;  ///< the first look met what it could not tell apart
  bool stopping_ = false;
  std::atomic<std::uint64_t> taken_{0};
};

}  // namespace smtpd::folders

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mailstore/directory.hpp"
#include "mailstore/types.hpp"

namespace mailstore {
class Store;
class MaildropLock;
struct Options;
struct NewMailbox;
struct MailboxChange;
struct DomainChange;
struct PurgeResult;
}  // namespace mailstore

/// A store in a folder of its own and its awaitable operations for callers that may block.
namespace tests {

/// A folder that goes with its owner; `under` empty: where the system keeps such things.
class TempFolder {
 public:
  explicit TempFolder(const std::filesystem::path& under = {});
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// In memory where there is such a file system: syncs cost nothing there.
std::filesystem::path memory_folder();

/// Options for small stores in `folder`: a map that any sanitizer bears, no reserve. Warnings go to `warnings` if
/// given.
mailstore::Options small_options(const std::filesystem::path& folder, std::vector<std::string>* warnings = nullptr);

struct Letter {
  std::vector<mailstore::MailboxNumber> to;
  std::string octets;  ///< as stored
  std::string from = "sender@far.test";
  std::vector<mailstore::Remote> remotes = {};
};

/// A message in stored form of about `size` octets: header with the marker, lines, some of them with a stuffed dot.
std::string make_message(std::string_view marker, std::size_t size, std::uint64_t seed = 1);
/// What LIST says of it, without the owner's lines.
std::uint64_t real_octets(std::string_view stored);
mailstore::BodyFacts facts_of(std::string_view stored);
/// The address that deliver() writes into the envelope for a mailbox.
std::string address_of(mailstore::MailboxNumber mailbox);
/// Return-Path and Delivered-To as a reader of `mailbox` must see them.
std::string front_of(const Letter& letter, mailstore::MailboxNumber mailbox);

template <class T>
using Result = mailstore::Result<T>;

Result<mailstore::MessageId> deliver(mailstore::Store& store, const Letter& letter);
/// All at the same time, by as many coroutines of one thread. `told` is called at each answer.
std::vector<Result<mailstore::MessageId>> deliver_together(
    mailstore::Store& store, std::span<const Letter> letters,
    const std::function<void(std::size_t, const Result<mailstore::MessageId>&)>& told = {});
/// Opens a draft, hands in octets, lets it go.
Result<mailstore::MessageId> drop_draft(mailstore::Store& store, std::string_view octets);

/// The receiver of `letter` is gone after so many turns of its loop, as a daemon's that may wait no longer; `close` is
/// called before its coroutine is destroyed. False: it had come to its end before.
bool leave_delivery(mailstore::Store& store, const Letter& letter, std::size_t turns,
                    const std::function<void()>& close);

Result<std::uint64_t> remove(mailstore::Store& store, const mailstore::MaildropLock& lock,
                             std::vector<mailstore::MessageId> ids);
/// Takes the lock for itself.
Result<std::uint64_t> remove(mailstore::Store& store, mailstore::MailboxNumber mailbox,
                             std::vector<mailstore::MessageId> ids);

Result<void> add_domain(mailstore::Store& store, mailstore::Domain domain);
Result<void> lock_domain(mailstore::Store& store, std::string name, bool locked);
Result<void> change_domain(mailstore::Store& store, std::string name, mailstore::DomainChange change);
Result<void> remove_domain(mailstore::Store& store, std::string name, bool purge);
Result<mailstore::MailboxNumber> add_mailbox(mailstore::Store& store, std::string address);
Result<mailstore::MailboxNumber> add_mailbox(mailstore::Store& store, mailstore::NewMailbox mailbox);
Result<void> change_mailbox(mailstore::Store& store, std::string address, mailstore::MailboxChange change);
Result<void> remove_mailbox(mailstore::Store& store, std::string address, bool purge);
Result<void> restore_mailbox(mailstore::Store& store, std::string address);
Result<void> rename_mailbox(mailstore::Store& store, std::string address, std::string to);
Result<mailstore::PurgeResult> purge_removed(mailstore::Store& store, std::uint64_t before);
Result<bool> note_answered(mailstore::Store& store, mailstore::MailboxNumber mailbox, std::string sender,
                           std::uint64_t when, std::chrono::seconds period);
Result<void> put_alias(mailstore::Store& store, mailstore::Alias alias);
Result<void> remove_alias(mailstore::Store& store, std::string address);

/// Everything in a maildrop now, in pages of three.
Result<std::vector<mailstore::Entry>> entries(mailstore::Store& store, mailstore::MailboxNumber mailbox);
/// The owner's lines and the stored octets. `scratch_octets` small: body by read(); large: body by the first read.
Result<std::string> read_message(mailstore::Store& store, mailstore::MailboxNumber mailbox,
                                 const mailstore::Entry& entry, std::size_t scratch_octets = 64 << 10U);
/// What check() says, as one text; empty: sound.
std::string problems(mailstore::Store& store);

/// The thread sanitizer ends a child that starts threads, as every open store does, where the parent has threads
/// already.
#if defined(__SANITIZE_THREAD__)
inline constexpr bool child_has_threads = false;
#else
inline constexpr bool child_has_threads = true;
#endif

/// Runs `work` in a child process, which ends with what it returns. Returns that, or 1000 + the signal that ended it.
int in_child(const std::function<int()>& work);

/// A store with example.test and so many mailboxes u0@, u1@ ... in it, closed and removed with its owner.
class TestStore {
 public:
  explicit TestStore(std::size_t mailboxes = 2, const std::function<void(mailstore::Options&)>& adjust = {});
  ~TestStore();
  mailstore::Store& operator*() { return *store_; }
  mailstore::Store* operator->() { return store_.get(); }
  const std::vector<mailstore::MailboxNumber>& boxes() const { return boxes_; }
  const mailstore::Options& options() const { return *options_; }
  mailstore::Options& options() { return *options_; }
  std::filesystem::path path() const { return folder_.path() / "store"; }
  std::vector<std::string>& warnings() { return warnings_; }
  void close();
  Result<void> open();
  void reopen();
  /// How many segment files there are.
  std::size_t segment_files() const;

 private:
  TempFolder folder_;
  std::vector<std::string> warnings_;
  std::unique_ptr<mailstore::Options> options_;
  std::shared_ptr<mailstore::Store> store_;
  std::vector<mailstore::MailboxNumber> boxes_;
};

}  // namespace tests

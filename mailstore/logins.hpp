#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "mailstore/files.hpp"
#include "mailstore/types.hpp"

namespace mailstore {

/// When each maildrop was last taken for a session: eight octets at eight times its number in a file that all processes
/// share and nobody syncs. To lose it costs nothing but that somebody logs in too early once. Made at the first note;
/// whoever reads or writes a mailbox's place holds its maildrop's lock.
class LoginTimes {
 public:
  explicit LoginTimes(std::string path) : path_(std::move(path)) {}
  /// Microseconds since the Unix epoch; 0: never. Throws Failure.
  std::uint64_t last(MailboxNumber mailbox);
  void note(MailboxNumber mailbox, std::uint64_t when);

 private:
  int descriptor();

  std::string path_;
  std::mutex mutex_;  // of opening it
  Descriptor file_;
};

}  // namespace mailstore

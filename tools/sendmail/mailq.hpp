#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tools::sendmail {

/// The queue as mailq has always shown it, made of the lines of `pennypost queue list --json`. No I/O.
class MailQueue {
 public:
  /// What is to be printed for a line; one that is no row says nothing.
  std::string add(std::string_view line);
  /// What stands below all of it.
  std::string finish();

 private:
  std::string id_;      ///< of the row before
  std::string answer_;  ///< and its last words
  std::uint64_t messages_ = 0, octets_ = 0;
};

}  // namespace tools::sendmail

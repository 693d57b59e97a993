#pragma once

#include <cstddef>
#include <expected>
#include <functional>
#include <string>
#include <vector>

#include "common/config/config.hpp"
#include "common/daemon/landlock.hpp"

namespace common::daemon {

/// Which virtual servers are this daemon's.
using Serves = std::function<bool(config::Kind)>;

/// A daemon shut in: Landlock for paths (landlock.hpp), seccomp for system calls (system_calls.hpp). Made once, when
/// addresses are bound and privileges dropped and before the first thread: Landlock holds for threads that start later.
///
/// Reached afterwards: the store, the run directory and the servers' own folders, to write; the folders of the log file
/// and of Unix sockets, to write files there; the folders of the configuration, of certificates and keys, to read.
/// Folders, since a file that is replaced is another file. And what libraries read of the system: /etc, libraries, time
/// zones, name resolution.
class Sandbox {
 public:
  /// As [run] sandbox says: "off" does nothing, "auto" what the kernel can do, "required" all or (error) nothing worth
  /// running. Error: a sentence with the remedy.
  static std::expected<Sandbox, std::string> enter(const config::Config& config, const Serves& serves);

  /// A line in the log, for each part that is not there a warning.
  void tell() const;
  /// What a new configuration names that lies out of reach, each a sentence that says it needs a restart.
  std::vector<std::string> outside(const config::Config& next) const;

 private:
  Serves serves_;
  bool off_ = false;
  int landlock_ = 0;            ///< its version; asked before that call is refused
  std::vector<Allowed> reach_;  ///< real paths; empty: every path
  std::vector<std::string> missing_;
};

}  // namespace common::daemon

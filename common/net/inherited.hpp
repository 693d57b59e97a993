#pragma once

#include <cstddef>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/config/config.hpp"
#include "common/net/listening.hpp"

namespace common::net {

/// Listening sockets that a service manager opened for us, as sd_listen_fds(3) has it. They stay its own: a Unix socket
/// is not removed at the end, and an address that a reload takes away and another brings back is there again. Any
/// thread.
class Inherited {
 public:
  Inherited() = default;
  /// Takes what LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES say, and takes these away, so that no child believes them.
  static Inherited from_environment();
  /// `first`: the descriptors from there on, one for each of `names`. What is no listening stream socket is closed.
  Inherited(int first, const std::vector<std::string>& names);
  Inherited(const Inherited&) = delete;
  Inherited& operator=(const Inherited&) = delete;

  /// The sockets for `where`: of TCP one for each worker, all the same socket, which they take turns at. Error: a
  /// sentence. nullopt: it has to be bound.
  std::optional<std::expected<Listening, std::string>> find(const config::Listen& where, std::size_t workers);
  /// "NAME (address)" of those that nobody asked for yet.
  std::vector<std::string> unclaimed() const;

 private:
  struct Held {
    Descriptor socket;
    std::string name;
    std::string address;  ///< as Listening has it
    std::uint16_t port = 0;
    bool claimed = false;
  };
  mutable std::mutex mutex_;
  std::vector<Held> held_;
};

/// Those of this process; the first call takes them.
Inherited& inherited_sockets();

}  // namespace common::net

#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>
#include <utility>
#include <vector>

#include "common/config/config.hpp"

namespace common::net {

/// Owns a descriptor.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  Descriptor(Descriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~Descriptor();
  int get() const { return descriptor_; }
  int release() { return std::exchange(descriptor_, -1); }

 private:
  int descriptor_ = -1;
};

/// The sockets of one address: one for each worker, all on one port, accepting; of a Unix socket a single one.
struct Listening {
  std::vector<Descriptor> sockets;
  std::uint16_t port = 0;  ///< the real one, when the kernel chose
  std::string address;     ///< for people: "127.0.0.1:25", "[::1]:25", "unix:/path"
  bool inherited = false;  ///< a service manager's: its path is not ours to remove
};

/// While the program starts, or later, when it has given up the right to some ports.
enum class Moment : std::uint8_t { start, reload };

/// Binds and listens. Somebody else's port is an error and not a share of it, though our own sockets share it
/// (SO_REUSEPORT). Error: a sentence with the address and the remedy.
std::expected<Listening, std::string> open_listening(const config::Listen& where, std::size_t workers, Moment moment);

/// The address without its port; "unix" for a Unix socket.
std::string numeric_address(const sockaddr& name);

}  // namespace common::net

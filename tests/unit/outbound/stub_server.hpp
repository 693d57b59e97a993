#pragma once

#include <openssl/ssl.h>

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "common/net/listening.hpp"

/// A next server on loopback that does what a test wants, however odd. A thread for each connection.
namespace test {

/// How one connection is served. `answers`: by command ("EHLO", "RCPT", ...), by whole line ("RCPT TO:<a@b>"), or by
/// moment: "GREETING", "TLS" (the handshake), "END" (of a message), "HALF" (1 KB into a message). The last word of an
/// answer may be an event: "!close" hangs up, "!stall" is silent from then on, "!break" (of TLS) sends nonsense.
struct Ways {
  std::vector<std::string> extensions{"PIPELINING", "8BITMIME", "SIZE"};
  std::map<std::string, std::string> answers{};
  SSL_CTX* tls = nullptr;
};

class StubServer {
 public:
  /// The last of `ways` serves all further connections. `port` 0: the kernel's choice.
  explicit StubServer(std::vector<Ways> ways, const std::string& address = "127.0.0.1", std::uint16_t port = 0);
  ~StubServer();
  StubServer(const StubServer&) = delete;
  StubServer& operator=(const StubServer&) = delete;

  std::uint16_t port() const { return port_; }
  /// False: somebody else has the port.
  bool listening() const { return listener_.get() >= 0; }

  struct Heard {
    std::vector<std::string> lines;     ///< commands, of all connections
    std::vector<std::string> messages;  ///< as they travelled, without the closing line
    std::size_t connections = 0;
    std::size_t most_at_once = 0;  ///< connections
    std::size_t stalls = 0;
    std::size_t resumed = 0;  ///< TLS sessions
  };
  Heard heard();
  /// Waits until a command that begins so has come.
  void wait_for(std::string_view line);

 private:
  class Talk;
  void serve(int socket, const Ways& ways);
  void note(const std::function<void(Heard&)>& what);

  std::vector<Ways> ways_;
  common::net::Descriptor listener_;
  std::uint16_t port_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  Heard heard_;
  bool stopping_ = false;
  std::vector<int> open_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

/// A server's TLS of one certificate.
SSL_CTX* server_tls(const std::string& certificate, const std::string& key);

}  // namespace test

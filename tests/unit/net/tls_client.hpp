#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/config/config.hpp"
#include "host.hpp"

namespace test {

/// Writes a self-signed certificate for `name` and its key as `stem`.crt and `stem`.key. `rsa`: else P-256.
struct Certificate {
  std::string certificate, key;
};
Certificate make_certificate(const Folder& folder, std::string_view stem, std::string_view name, bool rsa = false);
config::Tls settings(const Certificate& certificate);

/// The other end of a TLS connection: OpenSSL on a blocking socket.
class TlsClient {
 public:
  struct Wishes {
    int version = TLS1_3_VERSION;
    SSL_SESSION* session = nullptr;
    const char* server_name = nullptr;
  };
  TlsClient(int socket, const Wishes& wishes);
  ~TlsClient();
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;
  /// False: the handshake failed.
  bool connect();
  void send(std::string_view octets);
  std::string receive(std::size_t count = SIZE_MAX);
  /// The peer has said close_notify.
  bool closed_properly() const;
  SSL* native() { return ssl_; }
  /// The newest session that can be resumed; the client keeps it.
  SSL_SESSION* session() { return sessions_.empty() ? nullptr : sessions_.back(); }
  std::string exporter();
  std::string unique();
  std::string peer_name();

 private:
  SSL_CTX* context_;
  SSL* ssl_;
  std::vector<SSL_SESSION*> sessions_;
};

}  // namespace test

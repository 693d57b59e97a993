#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

struct ssl_ctx_st;
struct ssl_session_st;

namespace common::net {

/// How we speak TLS to other servers: 1.2 and 1.3 with forward secrecy. Remembers sessions, so that the next connection
/// to the same host costs a fraction. Any thread.
class TlsClientContext {
 public:
  enum class Peer : std::uint8_t {
    anyone,  ///< the certificate is not looked at: against who only listens
    named,   ///< for the host's name (RFC 6125), from an issuer we trust
  };
  /// `issuers`: a file of certificates (PEM); empty: the system's. Error: a sentence with the remedy. Reads files.
  static std::expected<std::shared_ptr<const TlsClientContext>, std::string> load(Peer peer,
                                                                                  const std::string& issuers = {});
  ~TlsClientContext();
  TlsClientContext(const TlsClientContext&) = delete;
  TlsClientContext& operator=(const TlsClientContext&) = delete;

  ssl_ctx_st* native() const { return context_.get(); }
  Peer peer() const { return peer_; }

  struct FreeSession {
    void operator()(ssl_session_st* session) const;
  };
  using Session = std::unique_ptr<ssl_session_st, FreeSession>;
  /// The newest session with `host`, null: none.
  Session recall(std::string_view host) const;
  void remember(std::string_view host, Session session) const;
  void forget(std::string_view host) const;

 private:
  struct Free {
    void operator()(ssl_ctx_st* context) const;
  };
  explicit TlsClientContext(Peer peer) : peer_(peer) {}

  Peer peer_;
  std::unique_ptr<ssl_ctx_st, Free> context_;
  mutable std::mutex mutex_;
  mutable std::unordered_map<std::string, Session> sessions_;
};

}  // namespace common::net

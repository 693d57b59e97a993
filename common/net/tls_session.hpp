#pragma once

#include <cstddef>
#include <expected>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "common/net/stream.hpp"
#include "common/net/worker.hpp"

struct ssl_ctx_st;
struct ssl_session_st;
struct ssl_st;

namespace common::net {

/// One side of a TLS connection, without I/O: records in and plain text out, and the other way round.
/// Records going out are appended to the worker's `wire.out`; who calls sends them before anything else uses it.
class TlsSession {
 public:
  /// The most octets that one record carries (RFC 8446 5.1), and how much room in `wire.out` it takes at most.
  static constexpr std::size_t record_octets = 16 * 1024;
  static constexpr std::size_t record_room = record_octets + 512;

  enum class Result : std::uint8_t {
    done,    ///< the handshake is over
    more,    ///< everything fed has been used; feed more
    closed,  ///< the peer said close_notify
    failed,  ///< over; error() says why, and an alert may stand in `wire.out`
  };

  /// Null: OpenSSL has no memory.
  static std::unique_ptr<TlsSession> start(const TlsContext& context, Wire& wire);
  /// The client's side. `host`: the name to ask for and, if the context wants it, to be proved; a numeric address is
  /// proved but not asked for (RFC 6066 3).
  static std::unique_ptr<TlsSession> start(std::shared_ptr<const TlsClientContext> context, std::string_view host,
                                           Wire& wire);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  /// Records (or parts) that have arrived; they must stay where they are until used or kept.
  void feed(std::string_view records) { input_ = records; }
  /// Copies what was fed and not used yet, before its place is given up.
  void keep_input();
  bool has_input() const { return !input_.empty(); }

  Result handshake();
  /// Decrypts what was fed into `into`, all of it if it has room for it; `got`: how much. `got` may be positive with
  /// any result.
  Result decrypt(std::span<char> into, std::size_t& got);
  /// Makes one record of at most record_octets. False: failed.
  bool encrypt(std::string_view plain);
  bool has_room() const { return wire_->out.size() - wire_->out_used >= record_room; }
  /// Puts close_notify into `wire.out`, if the handshake is over.
  void say_goodbye();

  /// True when a read needs no more records.
  bool pending() const;
  bool established() const { return established_; }
  /// What `decrypt` last ended with, for ever, once that is closed or failed; else more.
  Result end() const { return broken_ ? Result::failed : closed_ ? Result::closed : Result::more; }
  const std::string& error() const { return error_; }
  TlsFacts facts() const;
  std::string channel_binding(std::string_view type) const;

  /// From now on records go to and come from another worker's. No input is fed that was not kept.
  void move_to(Wire& wire) { wire_ = &wire; }

  /// Records that the peer has not taken yet.
  std::string unsent;

  /// OpenSSL's call for a session that the client may resume.
  static int on_new_session(ssl_st* ssl, ssl_session_st* session);

 private:
  struct Bio;
  static std::unique_ptr<TlsSession> make(ssl_ctx_st* context, Wire& wire);
  explicit TlsSession(Wire& wire) : wire_(&wire) {}
  Result give_up(int ssl_error);

  Wire* wire_;
  ssl_st* ssl_ = nullptr;
  std::shared_ptr<const TlsClientContext> client_;
  std::string host_;  ///< of the client's side: under which name its sessions are kept
  std::string_view input_;
  std::string kept_;
  std::string error_;
  bool established_ = false;
  bool closed_ = false;
  bool broken_ = false;
};

}  // namespace common::net

#include "common/net/tls_session.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "common/net/tls_client_context.hpp"
#include "common/net/tls_context.hpp"

namespace common::net {

/// What OpenSSL reads records from and writes them to.
struct TlsSession::Bio {
  static int read(BIO* bio, char* into, int size) {
    auto& session = *static_cast<TlsSession*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (session.input_.empty()) {
      BIO_set_retry_read(bio);
      return -1;
    }
    const auto count = std::min(static_cast<std::size_t>(size), session.input_.size());
    std::memcpy(into, session.input_.data(), count);
    session.input_.remove_prefix(count);
    return static_cast<int>(count);
  }

  static int write(BIO* bio, const char* from, int size) {
    auto& wire = *static_cast<TlsSession*>(BIO_get_data(bio))->wire_;
    BIO_clear_retry_flags(bio);
    const auto count = std::min(static_cast<std::size_t>(size), wire.out.size() - wire.out_used);
    if (count == 0) {
      BIO_set_retry_write(bio);
      return -1;
    }
    std::memcpy(wire.out.data() + wire.out_used, from, count);
    wire.out_used += count;
    return static_cast<int>(count);
  }

  static long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

  static BIO_METHOD* method() {
    static BIO_METHOD* const made = [] {
      BIO_METHOD* const fresh = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "worker's wire");
      if (fresh != nullptr) {
        BIO_meth_set_read(fresh, &Bio::read);
        BIO_meth_set_write(fresh, &Bio::write);
        BIO_meth_set_ctrl(fresh, &Bio::control);
      }
      return fresh;
    }();
    return made;
  }
};

std::unique_ptr<TlsSession> TlsSession::make(ssl_ctx_st* context, Wire& wire) {
  std::unique_ptr<TlsSession> session{new TlsSession(wire)};
  session->ssl_ = SSL_new(context);
  BIO* const bio = BIO_new(Bio::method());
  if (session->ssl_ == nullptr || bio == nullptr) {
    BIO_free(bio);
    ERR_clear_error();
    return nullptr;
  }
  BIO_set_data(bio, session.get());
  BIO_set_init(bio, 1);
  SSL_set_bio(session->ssl_, bio, bio);
  return session;
}

std::unique_ptr<TlsSession> TlsSession::start(const TlsContext& context, Wire& wire) {
  auto session = make(context.native(), wire);
  if (session != nullptr) SSL_set_accept_state(session->ssl_);
  return session;
}

std::unique_ptr<TlsSession> TlsSession::start(std::shared_ptr<const TlsClientContext> context, std::string_view host,
                                              Wire& wire) {
  auto session = make(context->native(), wire);
  if (session == nullptr) return nullptr;
  SSL* const ssl = session->ssl_;
  session->host_ = host;
  SSL_set_app_data(ssl, session.get());
  SSL_set_connect_state(ssl);
  auto* const wanted = SSL_get0_param(ssl);
  const bool numeric = X509_VERIFY_PARAM_set1_ip_asc(wanted, session->host_.c_str()) == 1;
  if (!numeric) {
    X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (X509_VERIFY_PARAM_set1_host(wanted, session->host_.c_str(), session->host_.size()) != 1 ||
        SSL_set_tlsext_host_name(ssl, session->host_.c_str()) != 1) {
      ERR_clear_error();
      return nullptr;
    }
  }
  ERR_clear_error();
  if (const auto known = context->recall(host)) SSL_set_session(ssl, known.get());
  session->client_ = std::move(context);
  return session;
}

int TlsSession::on_new_session(SSL* ssl, SSL_SESSION* session) {
  const auto* self = static_cast<const TlsSession*>(SSL_get_app_data(ssl));
  if (self == nullptr || self->client_ == nullptr) return 0;
  self->client_->remember(self->host_, TlsClientContext::Session{session});
  return 1;  // it is ours now
}

TlsSession::~TlsSession() {
  SSL_free(ssl_);
}

void TlsSession::keep_input() {
  if (input_.empty()) {
    kept_ = {};
    return;
  }
  std::string copy{input_};
  kept_ = std::move(copy);
  input_ = kept_;
}

TlsSession::Result TlsSession::give_up(int ssl_error) {
  if (ssl_error == SSL_ERROR_WANT_READ) return Result::more;
  if (ssl_error == SSL_ERROR_ZERO_RETURN) {
    closed_ = true;
    input_ = {};  // RFC 8446 6.1: what comes behind close_notify is ignored
    return Result::closed;
  }
  broken_ = true;
  const auto code = ERR_get_error();
  const char* text = code == 0 ? nullptr : ERR_reason_error_string(code);
  error_ = text == nullptr ? "TLS failed" : text;
  if (client_ != nullptr && !established_) {
    client_->forget(host_);
    const auto verdict = SSL_get_verify_result(ssl_);
    if (client_->peer() == TlsClientContext::Peer::named && verdict != X509_V_OK) {
      error_ += ": ";
      error_ += X509_verify_cert_error_string(verdict);
    }
  }
  ERR_clear_error();
  return Result::failed;
}

TlsSession::Result TlsSession::handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_);
  if (result != 1) return give_up(SSL_get_error(ssl_, result));
  established_ = true;
  return Result::done;
}

TlsSession::Result TlsSession::decrypt(std::span<char> into, std::size_t& got) {
  got = 0;
  if (end() != Result::more) return end();
  ERR_clear_error();
  // Read-ahead is off: OpenSSL takes from us exactly the record it wants, so no input left means that it holds no whole
  // record.
  while (got < into.size() && (!input_.empty() || SSL_pending(ssl_) > 0)) {
    std::size_t count = 0;
    const int result = SSL_read_ex(ssl_, into.data() + got, into.size() - got, &count);
    if (result != 1) return give_up(SSL_get_error(ssl_, result));
    got += count;
  }
  return Result::more;
}

bool TlsSession::encrypt(std::string_view plain) {
  if (plain.empty()) return true;
  if (broken_) return false;
  ERR_clear_error();
  std::size_t count = 0;
  const int result = SSL_write_ex(ssl_, plain.data(), plain.size(), &count);
  if (result == 1 && count == plain.size()) return true;
  give_up(result == 1 ? SSL_ERROR_SSL : SSL_get_error(ssl_, result));
  return false;
}

void TlsSession::say_goodbye() {
  if (!established_ || broken_) return;
  ERR_clear_error();
  SSL_shutdown(ssl_);
  ERR_clear_error();
  broken_ = true;
}

bool TlsSession::pending() const {
  return !input_.empty() || SSL_pending(ssl_) > 0;
}

TlsFacts TlsSession::facts() const {
  TlsFacts facts;
  facts.protocol = SSL_get_version(ssl_);
  if (const auto* cipher = SSL_get_current_cipher(ssl_)) {
    if (const char* name = SSL_CIPHER_standard_name(cipher)) facts.cipher = name;
    facts.bits = SSL_CIPHER_get_bits(cipher, nullptr);
  }
  facts.resumed = SSL_session_reused(ssl_) == 1;
  if (const char* name = SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name)) facts.server_name = name;
  return facts;
}

std::string TlsSession::channel_binding(std::string_view type) const {
  if (!established_) return {};
  const bool modern = SSL_version(ssl_) >= TLS1_3_VERSION;
  if (type == "tls-exporter" && modern) {
    // RFC 9266 2
    static constexpr std::string_view label = "EXPORTER-Channel-Binding";
    std::array<unsigned char, 32> key{};
    if (SSL_export_keying_material(ssl_, key.data(), key.size(), label.data(), label.size(), key.data(), 0, 1) != 1) {
      ERR_clear_error();
      return {};
    }
    return {reinterpret_cast<const char*>(key.data()), key.size()};
  }
  // Without the extended master secret somebody in the middle can make two resumed sessions look alike (RFC 7627 1).
  if (type == "tls-unique" && !modern && SSL_get_extms_support(ssl_) == 1) {
    // RFC 5929 3.1: the first Finished of the handshake, the client's in a full one, the server's in a resumed one.
    std::array<char, EVP_MAX_MD_SIZE> finished{};
    const bool client_first = SSL_session_reused(ssl_) != 1;
    const bool ours = client_first == (client_ != nullptr);
    const auto size = ours ? SSL_get_finished(ssl_, finished.data(), finished.size())
                           : SSL_get_peer_finished(ssl_, finished.data(), finished.size());
    return {finished.data(), std::min(size, finished.size())};
  }
  return {};
}

}  // namespace common::net

#include "common/net/tls_client_context.hpp"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "common/net/tls_session.hpp"

namespace common::net {
namespace {

// Hosts that are spoken to in a day; beyond, any one makes room.
constexpr std::size_t sessions_limit = 4096;

std::string reason() {
  const auto code = ERR_get_error();
  ERR_clear_error();
  const char* text = code == 0 ? nullptr : ERR_reason_error_string(code);
  return text == nullptr ? "not understood" : text;
}

bool set_rules(SSL_CTX* context) {
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(context,
                   SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(context, 0);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context, &TlsSession::on_new_session);
  return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
         SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL") == 1 &&
         SSL_CTX_set1_groups_list(context, "X25519:P-256:P-384") == 1;
}

}  // namespace

void TlsClientContext::Free::operator()(ssl_ctx_st* context) const {
  SSL_CTX_free(context);
}
void TlsClientContext::FreeSession::operator()(ssl_session_st* session) const {
  SSL_SESSION_free(session);
}
TlsClientContext::~TlsClientContext() = default;

std::expected<std::shared_ptr<const TlsClientContext>, std::string> TlsClientContext::load(Peer peer,
                                                                                           const std::string& issuers) {
  ERR_clear_error();
  std::shared_ptr<TlsClientContext> made{new TlsClientContext{peer}};
  made->context_.reset(SSL_CTX_new(TLS_client_method()));
  auto* const context = made->context_.get();
  if (context == nullptr || !set_rules(context))
    return std::unexpected(fmt::format("TLS cannot be set up: {}", reason()));
  if (peer == Peer::anyone) {
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, nullptr);
    // An old certificate that nobody looks at is better than none.
    SSL_CTX_set_security_level(context, 1);
    return made;
  }
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  if (issuers.empty()) {
    if (SSL_CTX_set_default_verify_paths(context) != 1)
      return std::unexpected(fmt::format("the system's certificates cannot be read: {}", reason()));
  } else if (SSL_CTX_load_verify_locations(context, issuers.c_str(), nullptr) != 1) {
    return std::unexpected(
        fmt::format("{}: no certificates in PEM form ({}); put those of the trusted issuers there", issuers, reason()));
  }
  return made;
}

TlsClientContext::Session TlsClientContext::recall(std::string_view host) const {
  const std::lock_guard lock{mutex_};
  const auto found = sessions_.find(std::string{host});
  if (found == sessions_.end()) return nullptr;
  SSL_SESSION_up_ref(found->second.get());
  return Session{found->second.get()};
}

void TlsClientContext::remember(std::string_view host, Session session) const {
  const std::lock_guard lock{mutex_};
  if (sessions_.size() >= sessions_limit) sessions_.erase(sessions_.begin());
  sessions_.insert_or_assign(std::string{host}, std::move(session));
}

void TlsClientContext::forget(std::string_view host) const {
  const std::lock_guard lock{mutex_};
  sessions_.erase(std::string{host});
}

}  // namespace common::net

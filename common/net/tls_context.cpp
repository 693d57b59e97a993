#include "common/net/tls_context.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/net/ticket_keys.hpp"

namespace common::net {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string lowered(std::string_view text) {
  std::string result{text};
  for (auto& c : result) c = lower(c);
  if (!result.empty() && result.back() == '.') result.pop_back();
  return result;
}

/// Why OpenSSL refused, from the oldest entry of its queue: the later ones only repeat it from further outside.
std::string reason() {
  const auto code = ERR_get_error();
  ERR_clear_error();
  const char* text = code == 0 ? nullptr : ERR_reason_error_string(code);
  return text == nullptr ? "not understood" : text;
}

/// Empty if it can be read.
std::string why_unreadable(const std::string& file) {
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return std::strerror(errno);
  ::close(descriptor);
  return {};
}

// A key with a passphrase: nobody is there to type it.
int no_passphrase(char*, int, int, void*) {
  return -1;
}

int on_server_name(SSL* ssl, int*, void* argument) {
  const auto* context = static_cast<const TlsContext*>(argument);
  const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (name == nullptr) return SSL_TLSEXT_ERR_NOACK;
  // A name we do not know gets the default certificate: mail clients ask for all sorts of names, and decide themselves.
  if (auto* found = context->find(name)) SSL_set_SSL_CTX(ssl, found);
  return SSL_TLSEXT_ERR_OK;
}

bool set_rules(SSL_CTX* context) {
  static constexpr unsigned char session_context[] = "pennypost";
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                   SSL_OP_PRIORITIZE_CHACHA);
  // Released buffers: an idle connection holds neither of OpenSSL's two 17 KiB buffers.
  SSL_CTX_set_mode(context,
                   SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(context, 0);
  // Sessions live in tickets alone, no cache of ours; one ticket is what a mail client uses.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 1);
  SSL_CTX_set_timeout(context, 12L * 3600);
  use_ticket_keys(context);
  return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
         SSL_CTX_set_cipher_list(context,
                                 "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                                 "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                                 "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305") == 1 &&
         SSL_CTX_set_ciphersuites(context,
                                  "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") == 1 &&
         SSL_CTX_set1_groups_list(context, "X25519:P-256:P-384") == 1 &&
         SSL_CTX_set_session_id_context(context, session_context, sizeof session_context - 1) == 1;
}

}  // namespace

void TlsContext::Free::operator()(ssl_ctx_st* context) const {
  SSL_CTX_free(context);
}
TlsContext::~TlsContext() = default;

std::expected<TlsContext::Context, std::string> TlsContext::load_one(const std::string& certificate,
                                                                     const std::string& key) {
  ERR_clear_error();
  Context context{SSL_CTX_new(TLS_server_method())};
  if (!context || !set_rules(context.get())) return std::unexpected(fmt::format("TLS cannot be set up: {}", reason()));
  SSL_CTX_set_default_passwd_cb(context.get(), &no_passphrase);

  if (const auto why = why_unreadable(certificate); !why.empty()) {
    return std::unexpected(
        fmt::format("{}: {}; put the certificate chain (PEM) there, readable by this user, or correct tls.certificate",
                    certificate, why));
  }
  if (SSL_CTX_use_certificate_chain_file(context.get(), certificate.c_str()) != 1) {
    return std::unexpected(
        fmt::format("{}: not a certificate chain in PEM form ({}); the server's own certificate must stand first",
                    certificate, reason()));
  }
  if (const auto why = why_unreadable(key); !why.empty()) {
    return std::unexpected(
        fmt::format("{}: {}; put the private key (PEM) there, readable by this user, or correct tls.key", key, why));
  }
  if (SSL_CTX_use_PrivateKey_file(context.get(), key.c_str(), SSL_FILETYPE_PEM) != 1) {
    const auto code = ERR_peek_error();
    const bool unfit = ERR_GET_LIB(code) == ERR_LIB_X509 && ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH;
    if (unfit || (ERR_GET_LIB(code) == ERR_LIB_X509 && ERR_GET_REASON(code) == X509_R_KEY_TYPE_MISMATCH)) {
      ERR_clear_error();
      return std::unexpected(fmt::format(
          "{}: the key does not belong to the certificate {}; name the key that the certificate was made with", key,
          certificate));
    }
    return std::unexpected(
        fmt::format("{}: not a private key in PEM form without a passphrase ({}); convert it with \"openssl pkey\"",
                    key, reason()));
  }
  if (SSL_CTX_check_private_key(context.get()) != 1) {
    ERR_clear_error();
    return std::unexpected(fmt::format(
        "{}: the key does not belong to the certificate {}; name the key that the certificate was made with", key,
        certificate));
  }
  return context;
}

std::expected<std::shared_ptr<const TlsContext>, std::string> TlsContext::load(const config::Tls& settings) {
  if (settings.certificate.empty()) return std::shared_ptr<const TlsContext>{};
  std::shared_ptr<TlsContext> result{new TlsContext};
  auto first = load_one(settings.certificate, settings.key);
  if (!first) return std::unexpected(std::move(first.error()));
  result->default_ = std::move(*first);
  SSL_CTX_set_tlsext_servername_callback(result->default_.get(), &on_server_name);
  SSL_CTX_set_tlsext_servername_arg(result->default_.get(), result.get());
  for (const auto& sni : settings.sni) {
    auto next = load_one(sni.certificate, sni.key);
    if (!next) return std::unexpected(std::move(next.error()));
    result->named_.push_back({lowered(sni.name), std::move(*next)});
  }
  return result;
}

ssl_ctx_st* TlsContext::find(std::string_view name) const {
  const auto wanted = lowered(name);
  for (const auto& each : named_) {
    if (each.name == wanted) return each.context.get();
  }
  const auto dot = wanted.find('.');
  if (dot == std::string::npos) return nullptr;
  // RFC 6125 6.4.3: the star stands for one label, the leftmost.
  const auto star = "*" + wanted.substr(dot);
  for (const auto& each : named_) {
    if (each.name == star) return each.context.get();
  }
  return nullptr;
}

}  // namespace common::net

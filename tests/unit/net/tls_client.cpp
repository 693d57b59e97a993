#include "tls_client.hpp"

#include <doctest/doctest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <array>
#include <cstdio>

namespace test {

Certificate make_certificate(const Folder& folder, std::string_view stem, std::string_view name, bool rsa) {
  EVP_PKEY* const key = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
  REQUIRE(key != nullptr);
  X509* const certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600L * 24);
  X509_set_pubkey(certificate, key);
  X509_NAME* const subject = X509_get_subject_name(certificate);
  const std::string common_name{name};
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(common_name.c_str()),
                             -1, -1, 0);
  X509_set_issuer_name(certificate, subject);
  REQUIRE(X509_sign(certificate, key, EVP_sha256()) > 0);
  const Certificate files{(folder / (std::string{stem} + ".crt")).string(),
                          (folder / (std::string{stem} + ".key")).string()};
  std::FILE* file = std::fopen(files.certificate.c_str(), "w");
  PEM_write_X509(file, certificate);
  std::fclose(file);
  file = std::fopen(files.key.c_str(), "w");
  PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
  std::fclose(file);
  X509_free(certificate);
  EVP_PKEY_free(key);
  return files;
}

config::Tls settings(const Certificate& certificate) {
  config::Tls tls;
  tls.certificate = certificate.certificate;
  tls.key = certificate.key;
  return tls;
}

TlsClient::TlsClient(int socket, const Wishes& wishes) : context_(SSL_CTX_new(TLS_client_method())) {
  SSL_CTX_set_min_proto_version(context_, wishes.version);
  SSL_CTX_set_max_proto_version(context_, wishes.version);
  SSL_CTX_set_session_cache_mode(context_, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_set_app_data(context_, this);
  SSL_CTX_sess_set_new_cb(context_, [](SSL* ssl, SSL_SESSION* session) {
    static_cast<TlsClient*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)))->sessions_.push_back(session);
    return 1;
  });
  ssl_ = SSL_new(context_);
  SSL_set_fd(ssl_, socket);
  if (wishes.session != nullptr) SSL_set_session(ssl_, wishes.session);
  if (wishes.server_name != nullptr) SSL_set_tlsext_host_name(ssl_, wishes.server_name);
}

TlsClient::~TlsClient() {
  for (auto* session : sessions_) SSL_SESSION_free(session);
  SSL_free(ssl_);
  SSL_CTX_free(context_);
}

bool TlsClient::connect() {
  return SSL_connect(ssl_) == 1;
}

void TlsClient::send(std::string_view octets) {
  while (!octets.empty()) {
    std::size_t sent = 0;
    REQUIRE(SSL_write_ex(ssl_, octets.data(), octets.size(), &sent) == 1);
    octets.remove_prefix(sent);
  }
}

std::string TlsClient::receive(std::size_t count) {
  std::string all;
  char part[16384];
  while (all.size() < count) {
    std::size_t got = 0;
    if (SSL_read_ex(ssl_, part, std::min(sizeof part, count - all.size()), &got) != 1) break;
    all.append(part, got);
  }
  return all;
}

bool TlsClient::closed_properly() const {
  return (SSL_get_shutdown(ssl_) & SSL_RECEIVED_SHUTDOWN) != 0;
}

std::string TlsClient::exporter() {
  std::array<unsigned char, 32> key{};
  static constexpr std::string_view label = "EXPORTER-Channel-Binding";
  REQUIRE(SSL_export_keying_material(ssl_, key.data(), key.size(), label.data(), label.size(), nullptr, 0, 0) == 1);
  return {reinterpret_cast<const char*>(key.data()), key.size()};
}

std::string TlsClient::unique() {
  std::array<char, 64> finished{};
  const bool resumed = SSL_session_reused(ssl_) == 1;
  const auto size = resumed ? SSL_get_peer_finished(ssl_, finished.data(), finished.size())
                            : SSL_get_finished(ssl_, finished.data(), finished.size());
  return {finished.data(), size};
}

std::string TlsClient::peer_name() {
  X509* const certificate = SSL_get1_peer_certificate(ssl_);
  if (certificate == nullptr) return {};
  std::array<char, 256> name{};
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name.data(),
                            static_cast<int>(name.size()));
  X509_free(certificate);
  return name.data();
}

}  // namespace test

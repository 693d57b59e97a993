#pragma once

#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/config/config.hpp"

struct ssl_ctx_st;

namespace common::net {

/// The certificates of one virtual server and the rules of its TLS: 1.2 and 1.3 with forward secrecy, tickets, no
/// renegotiation, no compression. Never changes: a reload makes a new one, and connections keep the one they began
/// with.
class TlsContext {
 public:
  /// Reads the chain, the key and those of each `[[tls.sni]]`, and checks that they fit. Null when `settings` names no
  /// certificate. Error: a sentence naming the file, the reason and the remedy. Reads files: before privileges are
  /// dropped, if the key is root's.
  static std::expected<std::shared_ptr<const TlsContext>, std::string> load(const config::Tls& settings);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  ssl_ctx_st* native() const { return default_.get(); }
  /// The context for a name that the client asked for (RFC 6066 3): the exact one, "*.example.net" for one label, else
  /// null.
  ssl_ctx_st* find(std::string_view name) const;

 private:
  struct Free {
    void operator()(ssl_ctx_st* context) const;
  };
  using Context = std::unique_ptr<ssl_ctx_st, Free>;
  struct Named {
    std::string name;  ///< in lower case
    Context context;
  };
  TlsContext() = default;
  static std::expected<Context, std::string> load_one(const std::string& certificate, const std::string& key);

  Context default_;
  std::vector<Named> named_;
};

}  // namespace common::net

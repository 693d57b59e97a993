#include <asio/ip/address.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "common/dns/verify.hpp"
#include "common/log.hpp"

#include "smtpd/session/session.hpp"

/// The part of the session that asks who the client is.
namespace smtpd {
namespace {

namespace log = common::log;
namespace dns = common::dns;

/// "[192.0.2.1]", "[IPv6:2001:db8::1]" (RFC 5321 4.1.3); nullopt: a name.
std::optional<asio::ip::address> literal_address(std::string_view text) {
  constexpr std::string_view six = "[IPv6:";
  if (!text.starts_with('[') || !text.ends_with(']')) return std::nullopt;
  text.remove_prefix(text.starts_with(six) ? six.size() : 1);
  text.remove_suffix(1);
  asio::error_code error;
  return asio::ip::make_address(std::string{text}, error);  // the unspecified address where it is none
}

}  // namespace

asio::awaitable<void> Session::settle_name() {
  if (name_) co_await name_->settle();
}

asio::awaitable<Step> Session::check_helo(CheckHelo question) {
  std::expected<bool, Cause> answer = true;
  std::string_view why = "it leads elsewhere";
  std::string detail;
  asio::error_code no_address;
  const auto client = asio::ip::make_address(peer_, no_address);
  // Who comes by a Unix socket is on this machine, whatever it is called.
  if (!no_address) {
    if (const auto literal = literal_address(question.name)) {
      answer = *literal == client;
    } else {
      auto found = co_await dns::leads_to(services_.resolver, question.name, client);
      if (found) {
        answer = *found;
      } else {
        detail = std::move(found.error().detail);
        why = detail;
        // A zone that fails to validate may be mended, or be somebody's forgery: neither is the client's last word.
        answer = std::unexpected(Cause::helo_unverified);
      }
    }
  }
  if (!answer || !*answer) {
    log::info("helo.refused", {{"helo", question.name},
                               {"peer", peer_},
                               {"code", format_code(answer ? Cause::helo_not_yours : answer.error())},
                               {"why", why},
                               {"server", server_->terms.server}});
  }
  co_return conversation_.on_helo(question, answer);
}

}  // namespace smtpd

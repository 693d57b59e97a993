#include "smtpd/session/client_name.hpp"

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <chrono>
#include <utility>

#include "common/dns/verify.hpp"
#include "common/log.hpp"

namespace smtpd {
namespace {

namespace dns = common::dns;

/// What a message waits for the name at most.
constexpr std::chrono::seconds patience{1};

}  // namespace

struct ClientName::State {
  explicit State(asio::io_context& context) : over(context) {}
  std::string name;
  bool done = false;
  bool waited = false;
  asio::steady_timer over;
  asio::cancellation_signal give_up;
};

std::unique_ptr<ClientName> ClientName::look_up(dns::Resolver& resolver, asio::io_context& context,
                                                const std::string& address) {
  asio::error_code error;
  const auto numeric = asio::ip::make_address(address, error);
  if (error) return nullptr;
  auto state = std::make_shared<State>(context);
  // Whatever went wrong, the session does without the name.
  const auto ended = [state](const std::exception_ptr&) {};
  asio::co_spawn(context, run(resolver, numeric, state), asio::bind_cancellation_slot(state->give_up.slot(), ended));
  return std::unique_ptr<ClientName>{new ClientName{std::move(state)}};
}

ClientName::~ClientName() {
  state_->give_up.emit(asio::cancellation_type::terminal);
}

asio::awaitable<void> ClientName::run(dns::Resolver& resolver, asio::ip::address address,
                                      std::shared_ptr<State> state) {
  auto found = co_await dns::verified_name(resolver, address);
  if (found) {
    state->name = std::move(*found);
  } else if (found.error().code != dns::Errc::cancelled) {
    common::log::debug("peer.unnamed", {{"peer", address.to_string()}, {"why", found.error().detail}});
  }
  state->done = true;
  state->over.cancel();
}

asio::awaitable<void> ClientName::settle() {
  if (state_->done || state_->waited) co_return;
  state_->waited = true;
  state_->over.expires_after(patience);
  asio::error_code ignored;  // cancelled: the lookup is over
  auto token = asio::redirect_error(asio::use_awaitable, ignored);
  co_await state_->over.async_wait(token);
}

const std::string& ClientName::name() const {
  return state_->name;
}

}  // namespace smtpd

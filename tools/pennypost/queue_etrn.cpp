// pennypost queue etrn: asks another server for mail that waits there (RFC 1985).

#include <netdb.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <exception>
#include <memory>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <asio/co_spawn.hpp>
#include <asio/error.hpp>

#include "common/address.hpp"
#include "common/clock.hpp"
#include "common/host_port.hpp"
#include "common/net/stream.hpp"
#include "common/net/tls_client_context.hpp"
#include "common/net/worker.hpp"

#include "smtpd/outbound/client_conversation.hpp"
#include "smtpd/outbound/client_terms.hpp"

#include "smtpd/outbound/next_hop.hpp"
#include "smtpd/protocol/command.hpp"
#include "tools/pennypost/program.hpp"
#include "tools/pennypost/queue_orders.hpp"
#include "tools/pennypost/remote_settings.hpp"

namespace tools {
namespace {

using namespace smtpd::outbound;
using common::net::End;
using common::net::Stream;
using common::net::TlsClientContext;

struct EtrnArguments {
  std::string host, node;
  HostOptions options;
};

std::vector<std::string> addresses_of(const common::HostPort& where) {
  if (where.numeric) return {where.host};
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(where.host.c_str(), nullptr, &wanted, &found);
  if (error != 0) fail(fmt::format("{}: {}", where.host, gai_strerror(error)));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(found, ::freeaddrinfo);
  std::vector<std::string> addresses;
  for (const auto* each = found; each != nullptr; each = each->ai_next) {
    std::array<char, NI_MAXHOST> text{};
    if (::getnameinfo(each->ai_addr, each->ai_addrlen, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) == 0)
      addresses.emplace_back(text.data());
  }
  return addresses;
}

std::string own_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  // One that is no name in EHLO would be refused, for nothing.
  return smtpd::is_helo_name(name.data()) ? name.data() : "localhost";
}

/// What the conversation wants, on a stream; as the daemon does it, and in the foreground.
class Asker {
 public:
  Asker(common::net::Worker& worker, const common::HostPort& where, std::shared_ptr<const ClientTerms> terms,
        std::shared_ptr<const TlsClientContext> tls)
      : worker_(worker), where_(where), terms_(std::move(terms)), tls_(std::move(tls)) {}

  /// What the server said to the command; nullopt: it was not reached, and `trouble` says why.
  asio::awaitable<std::optional<Answer>> ask(std::string address, std::string command, Attempt attempt) {
    auto connecting = Stream::connect(worker_, address, where_.port, {}, terms_->timeouts.connect);
    auto stream = co_await std::move(connecting);
    if (!stream) {
      trouble = address + ": " + stream.error();
      co_return std::nullopt;
    }
    ClientConversation conversation{terms_, attempt};
    Step step = conversation.start();
    bool asked = false;
    for (;;) {
      if (std::holds_alternative<Done>(step)) break;
      if (std::holds_alternative<Rest>(step)) {
        step = asked ? conversation.leave() : conversation.ask(command);
        asked = true;
        continue;
      }
      auto performing = perform(step, *stream, conversation);
      const Step next = co_await std::move(performing);
      step = next;
    }
    tls_broke = conversation.tls_broke();
    if (const auto& failure = conversation.failure()) {
      trouble = address + ": " + format_answer(*failure);
      co_return std::nullopt;
    }
    co_return conversation.said();
  }

  std::string trouble;
  bool tls_broke = false;

 private:
  asio::awaitable<Step> perform(const Step& step, Stream& stream, ClientConversation& conversation) {
    using Loss = ClientConversation::Loss;
    try {
      if (std::holds_alternative<Handshake>(step)) {
        stream.set_timeout(terms_->timeouts.tls);
        co_await stream.write(conversation.output());
        conversation.sent();
        const auto shaken = co_await stream.connect_tls(tls_, where_.host);
        if (!shaken) co_return conversation.on_tls_failed(shaken.error());
        common::auth::Channel channel;
        channel.exporter = stream.channel_binding("tls-exporter");
        channel.unique = stream.channel_binding("tls-unique");
        co_return conversation.on_secured(std::move(channel));
      }
      const auto* waiting = std::get_if<Exchange>(&step);
      stream.set_timeout(waiting != nullptr ? waiting->patience : terms_->timeouts.hello);
      co_await stream.write(conversation.output());
      conversation.sent();
      const auto octets = co_await stream.read();
      if (octets) co_return conversation.on_octets(*octets);
      co_return conversation.on_lost(octets.error() == End::timeout ? Loss::timeout : Loss::closed, "");
    } catch (const std::system_error& error) {
      const bool late = error.code() == asio::error::timed_out;
      co_return conversation.on_lost(late ? Loss::timeout : Loss::closed, "");
    }
  }

  common::net::Worker& worker_;
  const common::HostPort& where_;
  std::shared_ptr<const ClientTerms> terms_;
  std::shared_ptr<const TlsClientContext> tls_;
};

void etrn(Session& session, const EtrnArguments& given) {
  const auto where = common::parse_host_port(given.host, 25);
  if (!where) refuse(fmt::format("{}: {}; write HOST, HOST:PORT or [ADDRESS]:PORT", given.host, where.error()));
  const auto node = smtpd::parse_etrn(given.node);
  if (!node) refuse(fmt::format("{}: not a domain; write a domain, or @ and a domain for all below it", given.node));
  const std::string command = "ETRN " + given.node;
  auto terms = std::make_shared<ClientTerms>();
  terms->hostname = own_name();
  terms->timeouts = shortened(terms->timeouts, std::chrono::minutes{1});
  mailstore::FetchSettings settings;
  settings.from = given.host;
  apply(FetchOptions{}, given.options, settings);
  terms->security = security_of(settings.security);
  if (!settings.username.empty()) {
    auto credentials = std::make_shared<Credentials>();
    credentials->account = settings.username;
    credentials->password = common::Secret{settings.password};
    terms->credentials = std::move(credentials);
  }
  auto tls = TlsClientContext::load(terms->security == Security::verify ? TlsClientContext::Peer::named
                                                                        : TlsClientContext::Peer::anyone);
  if (!tls) fail(tls.error());

  const auto worker = std::make_unique<common::net::Worker>(common::system_clock_source());
  Asker asker{*worker, *where, std::move(terms), std::move(*tls)};
  std::optional<Answer> answer;
  std::exception_ptr broken;
  const auto addresses = addresses_of(*where);
  auto all = [&]() -> asio::awaitable<void> {
    for (const auto& address : addresses) {
      auto first = asker.ask(address, command, Attempt::first);
      answer = co_await std::move(first);
      if (!answer && asker.tls_broke) {
        auto again = asker.ask(address, command, Attempt::without_tls);
        answer = co_await std::move(again);
      }
      if (answer) co_return;
    }
  };
  asio::co_spawn(worker->context(), all(), [&](const std::exception_ptr& error) {
    broken = error;
    worker->stop();
  });
  worker->run();
  if (broken) std::rethrow_exception(broken);
  if (!answer) fail(fmt::format("{} was not asked: {}", given.host, asker.trouble));
  const bool done = answer->code / 100 == 2;
  const auto words = format_answer(*answer);
  if (!done) fail(fmt::format("{} does not send what waits for {}: {}", given.host, given.node, words));
  session.report()(true, "asked", "domain", given.node, fmt::format("{}: {}", given.host, words));
}

}  // namespace

void add_queue_etrn(CLI::App& group, Program& program) {
  auto& session = program.session;
  auto given = std::make_shared<EtrnArguments>();
  auto* command = add_command(group, "etrn", "Asks another server to send what waits there for a domain", program,
                              [&session, given] { etrn(session, *given); });
  add_argument(command, "HOST", given->host, "The server, with its port if that is not 25")->required();
  add_argument(command, "DOMAIN", given->node, "Whose mail; @DOMAIN: of all below it, too")->required();
  add_host_options(command, given->options);
}

}  // namespace tools

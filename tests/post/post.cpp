// Sends a message in wire form to a server, through all of outgoing mail but the queue: for tests with real servers,
// and for figures. Prints what became of each recipient, and with --times how long it took.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>

#include "common/net/listening.hpp"

#include "smtpd/outbound/carrier.hpp"

namespace {

using namespace smtpd::outbound;

/// Only numeric addresses and smart hosts here.
class NoNames final : public NameService {
 public:
  asio::awaitable<MxAnswer> exchangers(std::string) override { co_return MxAnswer{}; }
  asio::awaitable<AddressAnswer> addresses(std::string) override {
    co_return AddressAnswer{Lookup::found, {address}, {}};
  }
  std::string address;
};

struct Run {
  Carrier& carrier;
  common::net::Worker& worker;
  const Route& route;
  const Message& message;
  const Body& body;
  std::uint64_t left;
  std::uint64_t running = 0;
  std::uint64_t connections = 0;
  std::uint64_t failed = 0;
  Delivery last{};
};

asio::awaitable<void> carry_on(Run& run) {
  while (run.left > 0) {
    --run.left;
    auto delivery = co_await run.carrier.carry(run.route, run.message, run.body);
    run.connections += delivery.connections;
    for (const auto& answer : delivery.answers) {
      if (answer.outcome != Outcome::delivered) ++run.failed;
    }
    run.last = std::move(delivery);
  }
  if (--run.running == 0) run.worker.stop();
}

double processor_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::string_view name_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::untried:
      return "untried";
    case Outcome::delivered:
      return "delivered";
    case Outcome::temporary:
      return "temporary";
    case Outcome::permanent:
      return "permanent";
    case Outcome::unknown:
      return "unknown";
  }
  return "";
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Sends a message (CRLF line ends, dots stuffed) to HOST[:PORT]"};
  std::string where, file, from, security = "opportunistic", issuers, account, password, address;
  std::vector<std::string> to;
  std::uint64_t times = 1, parallel = 1;
  bool helo = false;
  Message message;
  ClientTerms terms;
  terms.hostname = "post.test";
  app.add_option("host", where)->required();
  app.add_option("file", file)->required();
  app.add_option("--from", from);
  app.add_option("--to", to)->required();
  app.add_option("--address", address, "where HOST is");
  app.add_option("--security", security)->check(CLI::IsMember({"none", "opportunistic", "tls", "verify"}));
  app.add_option("--issuers", issuers);
  app.add_option("--account", account);
  app.add_option("--password", password);
  app.add_option("--times", times);
  app.add_option("--parallel", parallel);
  app.add_option("--messages", terms.messages, "on one connection");
  app.add_flag("--helo", helo);
  app.add_flag("--8bit", message.eight_bit);
  app.add_flag("--utf8", message.utf8);
  CLI11_PARSE(app, argc, argv);

  terms.security = security == "none"            ? Security::none
                   : security == "opportunistic" ? Security::opportunistic
                   : security == "tls"           ? Security::tls
                                                 : Security::verify;
  if (helo) terms.hello = Hello::helo;
  if (!account.empty()) {
    terms.credentials = std::make_shared<const Credentials>(Credentials{account, common::Secret{password}});
  }
  std::ifstream in{file, std::ios::binary};
  const std::string octets{std::istreambuf_iterator<char>{in}, std::istreambuf_iterator<char>{}};
  const common::net::Descriptor descriptor{::open(file.c_str(), O_RDONLY | O_CLOEXEC)};
  message.id = "post";
  message.reverse_path = from;
  message.stuffed = octets.starts_with("..") || octets.find("\n..") != std::string::npos;
  message.octets = message.stored_octets = octets.size();
  for (const auto& each : to) message.recipients.push_back({each, notify_failure, {}});

  const auto via = common::parse_host_port(where, 25);
  const auto unchecked = common::net::TlsClientContext::load(common::net::TlsClientContext::Peer::anyone);
  const auto verified = common::net::TlsClientContext::load(common::net::TlsClientContext::Peer::named, issuers);
  if (!via || !unchecked || !verified || descriptor.get() < 0) {
    fmt::print(stderr, "post: {}\n", !via ? via.error() : !verified ? verified.error() : "the file cannot be read");
    return 2;
  }
  Route route;
  route.via = *via;
  route.terms = std::make_shared<const ClientTerms>(std::move(terms));
  Carrier::Setup setup;
  setup.unchecked = *unchecked;
  setup.verified = *verified;
  setup.dice = [engine = std::minstd_rand{std::random_device{}()}](std::uint32_t bound) mutable {
    return static_cast<std::uint32_t>(engine() % bound);
  };

  const auto worker = std::make_unique<common::net::Worker>(common::system_clock_source());
  NoNames names;
  names.address = address.empty() ? "127.0.0.1" : address;
  auto carrier = std::make_unique<Carrier>(*worker, names, std::move(setup));
  const Body body{descriptor.get(), 0, octets.size()};
  Run run{*carrier, *worker, route, message, body, times, parallel};
  const auto begun = std::chrono::steady_clock::now();
  const auto spent = processor_seconds();
  for (std::uint64_t i = 0; i < parallel; ++i) asio::co_spawn(worker->context(), carry_on(run), asio::detached);
  worker->run();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;

  for (std::size_t i = 0; i < to.size(); ++i) {
    const auto& answer = run.last.answers[i];
    fmt::print("{} {} {}\n", to[i], name_of(answer.outcome), format_answer(answer));
  }
  fmt::print("tls {}\n", run.last.tls.empty() ? "none" : run.last.tls);
  if (times > 1) {
    const auto count = static_cast<double>(times);
    fmt::print("{} messages, {} failed, {} connections, {:.0f} a second, {:.3f} ms of processor each\n", times,
               run.failed, run.connections, count / took.count(), (processor_seconds() - spent) * 1000 / count);
  }
  carrier.reset();
  return run.failed == 0 ? 0 : 1;
}

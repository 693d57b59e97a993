// The smallest daemon: daemon::run with a service that greets. daemon_run.cpp starts it.
#include <nlohmann/json.hpp>

#include "common/daemon/daemon.hpp"

namespace {

using namespace common;

asio::awaitable<void> greet(net::Worker&, net::Stream stream, net::Door door) {
  const auto greeting = "220 " + door.config->hostname + "\r\n";
  co_await stream.write(greeting);
  stream.set_idle(true);
  const auto got = co_await stream.read();
  if (!got && got.error() == net::End::shutdown) co_await stream.write("421 4.3.2 bye\r\n");
}

class Greeter final : public daemon::Service {
 public:
  std::expected<void, std::string> prepare(const config::Config& config) override {
    return server_.listen(config.servers);
  }
  std::expected<void, std::string> start() override {
    server_.start();
    return {};
  }
  std::expected<std::vector<std::string>, std::string> reload(const config::Config& config) override {
    auto done = server_.reload(config.servers);
    if (!done) return std::unexpected(std::move(done.error()));
    return std::vector<std::string>{"a note"};
  }
  void stop(std::chrono::milliseconds grace) override { server_.stop(grace); }
  net::Server& listeners() override { return server_; }
  bool serves(config::Kind) const override { return true; }
  void add_status(nlohmann::json& status) override { status["greeter"] = true; }

 private:
  net::Server server_{2, system_clock_source(), greet,
                      [](const config::Server&) { return std::string{"421 full\r\n"}; }};
};

}  // namespace

int main(int argc, char** argv) {
  Greeter greeter;
  return daemon::run(argc, argv, "greeter", "Greets.", greeter);
}

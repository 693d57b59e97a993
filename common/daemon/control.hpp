#pragma once

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <asio/local/stream_protocol.hpp>
#include <expected>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace common::daemon {

/// The control socket, from the answering side; control_client.hpp tells the protocol. Everything on `context`'s
/// thread.
class Control {
 public:
  /// `answer(command)` gives the whole answer.
  using Answer = std::function<nlohmann::json(std::string_view command)>;
  Control(asio::io_context& context, Answer answer);
  ~Control();
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;
  /// A socket left there by a dead daemon is replaced: whoever calls holds the run directory's lock. Error: a sentence.
  std::expected<void, std::string> listen(const std::filesystem::path& path);
  /// Answers nobody from now on, and removes the socket.
  void close();

 private:
  using Acceptor = asio::local::stream_protocol::acceptor;
  using Socket = asio::local::stream_protocol::socket;
  asio::awaitable<void> accept();
  asio::awaitable<void> talk(std::shared_ptr<Socket> socket);
  nlohmann::json reply(std::string_view line) const;

  asio::io_context& context_;
  Answer answer_;
  Acceptor acceptor_;
  std::filesystem::path path_;
  std::shared_ptr<std::size_t> talking_ =
      std::make_shared<std::size_t>(0);  // outlived by conversations left in the context
};

}  // namespace common::daemon

#pragma once

#include <sys/socket.h>

#include <asio/io_context.hpp>
#include <asio/posix/basic_stream_descriptor.hpp>
#include <asio/steady_timer.hpp>
#include <cstddef>
#include <functional>
#include <memory>

#include "common/net/admission.hpp"
#include "common/net/listening.hpp"
#include "common/net/server.hpp"
#include "common/net/worker.hpp"

namespace common::net {

/// Whose connections an acceptor takes; changes with a reload.
struct Target {
  Door door;
  std::shared_ptr<Admissions> admissions;
};

/// A connection just accepted.
struct Accepted {
  Descriptor socket;
  sockaddr_storage peer{};
  socklen_t peer_length = 0;
};

/// Takes connections from one listening socket, on one worker's thread; all calls are made there.
class Acceptor : public std::enable_shared_from_this<Acceptor> {
 public:
  using Take = std::function<void(Accepted, const Target&)>;
  /// `complain(error)` is told the errno of a machine that has no more descriptors or memory, once until that is over.
  Acceptor(Worker& worker, Descriptor socket, Target target, Take take, std::function<void(int)> complain);
  void start() { wait(); }
  void set_target(Target target) { target_ = std::move(target); }
  void close();

 private:
  void wait();
  void on_ready();
  void pause(int error);

  Target target_;
  Take take_;
  std::function<void(int)> complain_;
  asio::posix::basic_stream_descriptor<asio::io_context::executor_type> socket_;
  asio::steady_timer rest_;
  bool short_of_descriptors_ = false;
};

}  // namespace common::net

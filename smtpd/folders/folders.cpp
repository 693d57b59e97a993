#include "smtpd/folders/folders.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <unistd.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/experimental/as_tuple.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "smtpd/folders/make_folder.hpp"

namespace smtpd::folders {
std::expected<void, std::string> Folders::make_spool(const std::filesystem::path& folder, const std::string& user) {
  const auto trouble = [&](const char* what) {
    return std::unexpected(fmt::format("{}: {}: {}", folder.string(), what, std::strerror(errno)));
  };
  const passwd* owner = nullptr;
  if (::geteuid() == 0 && !user.empty()) {
    owner = ::getpwnam(user.c_str());
    if (owner == nullptr) return trouble("the spool must belong to the user of run.user");
  }
  // Sticky: nobody takes away what is another's. Without the right to list, a name that is not told is a secret.
  if (const auto made = make_folder(folder, 01733, owner); !made) {
    errno = made.error();
    return trouble("the spool cannot be made");
  }
  return {};
}

Folders::Folders(mailstore::Store& store, common::dns::Resolver& resolver, const common::Clock& clock,
                 std::function<SpoolReader::Server()> server)
    : worker_(std::make_unique<common::net::Worker>(clock)),
      reader_(store, clock, std::move(server)),
      entrance_({store, *worker_, resolver}, "spool", Entrance::Refused::message),
      store_(store) {}

Folders::~Folders() {
  stop(std::chrono::milliseconds{0});
}

std::expected<void, std::string> Folders::start(const std::filesystem::path& spool) {
  Taker::Setup setup;
  setup.folder = spool;
  setup.source = "spool";
  setup.read = [this](const OpenedFile& file) { return reader_.read(file); };
  setup.accept = [this](const OpenedFile& file, Message message, std::string origin) {
    return entrance_.accept(file, std::move(message), std::move(origin));
  };
  spool_.emplace(worker_->context(), store_, std::move(setup));
  if (auto started = spool_->start(); !started) {
    spool_.reset();
    return started;
  }
  thread_ = std::thread([this] {
    // Signals are the main thread's.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    pthread_setname_np(pthread_self(), "folders");
    worker_->run();
  });
  return {};
}

void Folders::stop(std::chrono::milliseconds grace) {
  if (!thread_.joinable()) return;
  const auto end = [this, grace]() -> asio::awaitable<void> {
    constexpr std::chrono::milliseconds step{5};
    const auto until = std::chrono::steady_clock::now() + grace;
    spool_->stop();
    asio::steady_timer timer{worker_->context()};
    while (!spool_->idle() && std::chrono::steady_clock::now() < until) {
      timer.expires_after(step);
      co_await timer.async_wait(asio::use_awaitable);
    }
    worker_->stop();
  };
  asio::co_spawn(worker_->context(), end, asio::detached);
  thread_.join();
}

void Folders::add_status(nlohmann::json& status) const {
  if (spool_) status["spool"] = {{"taken", spool_->taken()}};
}

}  // namespace smtpd::folders

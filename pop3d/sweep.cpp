#include "pop3d/sweep.hpp"

#include <algorithm>
#include <exception>

#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include "common/clock.hpp"
#include "common/log.hpp"

namespace pop3d {
namespace {

namespace log = common::log;
using std::chrono::milliseconds;

// A reload may shorten `keep`: it is looked at so often.
constexpr milliseconds longest_rest = std::chrono::hours{1};
constexpr milliseconds shortest_rest = std::chrono::seconds{1};

asio::awaitable<void> sweep_once(mailstore::Store& store, milliseconds keep) {
  const auto now =
      std::chrono::duration_cast<std::chrono::microseconds>(common::system_clock_source().wall().time_since_epoch());
  const auto before = now - std::chrono::duration_cast<std::chrono::microseconds>(keep);
  if (before.count() <= 0) co_return;
  auto purging = store.purge_removed(static_cast<std::uint64_t>(before.count()));
  const auto purged = co_await std::move(purging);
  if (!purged) {
    log::warning("mailbox.purge_failed", {{"why", purged.error().detail}});
    co_return;
  }
  for (const auto& address : purged->mailboxes) log::info("mailbox.purged", {{"mailbox", address}});
}

}  // namespace

asio::awaitable<void> sweep_removed(mailstore::Store& store, const std::atomic<milliseconds>& keep) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor);
  for (;;) {
    const auto time = keep.load();
    const auto pause = time.count() == 0 ? longest_rest : std::clamp(time / 4, shortest_rest, longest_rest);
    timer.expires_after(pause);
    co_await timer.async_wait(asio::use_awaitable);
    if (time.count() == 0 || keep.load() != time) continue;
    auto sweeping = sweep_once(store, time);
    co_await std::move(sweeping);
  }
}

}  // namespace pop3d

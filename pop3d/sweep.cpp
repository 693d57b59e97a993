#include "pop3d/sweep.hpp"

#include <algorithm>
#include <span>
#include <string>

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

/// Microseconds since the Unix epoch, `time` ago; 0: before that.
std::uint64_t ago(milliseconds time) {
  const auto now = common::unix_microseconds(common::system_clock_source());
  const auto back = static_cast<std::uint64_t>(std::chrono::microseconds{time}.count());
  return now > back ? now - back : 0;
}

asio::awaitable<void> purge_once(mailstore::Store& store, std::uint64_t before) {
  auto purging = store.purge_removed(before);
  const auto purged = co_await std::move(purging);
  if (!purged) {
    log::warning("mailbox.purge_failed", {{"why", purged.error().detail}});
    co_return;
  }
  for (const auto& address : purged->mailboxes) log::info("mailbox.purged", {{"mailbox", address}});
}

asio::awaitable<void> expire_once(mailstore::Store& store, std::uint64_t before) {
  const auto tell = [](std::string_view mailbox, std::span<const mailstore::MessageId> ids) {
    // One line names up to 32 of them.
    for (std::size_t i = 0; i < ids.size(); i += 32) {
      std::string names;
      for (const auto id : ids.subspan(i, std::min<std::size_t>(32, ids.size() - i)))
        (names += names.empty() ? "" : " ") += mailstore::format_id(id);
      log::info("mailbox.expired", {{"mailbox", mailbox}, {"ids", names}});
    }
  };
  auto removing = store.remove_retrieved(before, tell);
  const auto removed = co_await std::move(removing);
  if (!removed) log::warning("mailbox.expire_failed", {{"why", removed.error().detail}});
}

/// Does `once` with what is older than `time`, now and again.
template <typename Once>
asio::awaitable<void> sweep(mailstore::Store& store, const std::atomic<milliseconds>& keep, Once once) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor);
  for (;;) {
    const auto time = keep.load();
    const auto pause = time.count() == 0 ? longest_rest : std::clamp(time / 4, shortest_rest, longest_rest);
    timer.expires_after(pause);
    co_await timer.async_wait(asio::use_awaitable);
    if (time.count() == 0 || keep.load() != time) continue;
    const auto before = ago(time);
    if (before == 0) continue;
    auto sweeping = once(store, before);
    co_await std::move(sweeping);
  }
}

}  // namespace

asio::awaitable<void> sweep_removed(mailstore::Store& store, const std::atomic<milliseconds>& keep) {
  return sweep(store, keep, &purge_once);
}

asio::awaitable<void> sweep_retrieved(mailstore::Store& store, const std::atomic<milliseconds>& expire) {
  return sweep(store, expire, &expire_once);
}

}  // namespace pop3d

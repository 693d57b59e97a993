#pragma once

#include <asio/awaitable.hpp>
#include <atomic>
#include <chrono>

#include "mailstore/store.hpp"

namespace pop3d {

/// Purges mailboxes that were removed longer ago than `keep` (0: none), now and again, for as long as its executor
/// runs. Both outlive it, but for the store once the executor has stopped. Several daemons may do it on one store.
asio::awaitable<void> sweep_removed(mailstore::Store& store, const std::atomic<std::chrono::milliseconds>& keep);

/// Removes messages that were retrieved longer ago than `expire` (0: none), in the same way.
asio::awaitable<void> sweep_retrieved(mailstore::Store& store, const std::atomic<std::chrono::milliseconds>& expire);

}  // namespace pop3d

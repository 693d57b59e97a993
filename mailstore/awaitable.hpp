#pragma once

#include <asio/associated_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>
#include <chrono>
#include <functional>
#include <utility>

namespace mailstore {

/// Suspends the coroutine, calls `start` with a function that some other thread calls once, and resumes on the
/// coroutine's own executor with what it was given.
template <class T, class Start>
asio::awaitable<T> await_completion(Start start) {
  auto initiate = [start = std::move(start)](auto handler) mutable {
    auto executor = asio::get_associated_executor(handler);
    auto guard = asio::make_work_guard(executor);
    start([handler = std::move(handler), executor, guard = std::move(guard)](T value) mutable {
      // The guard goes along: once this is posted its context may be gone at any moment, and nobody here may touch it.
      asio::post(executor, [handler = std::move(handler), value = std::move(value),
                            guard = std::move(guard)]() mutable { std::move(handler)(std::move(value)); });
    });
  };
  return asio::async_initiate<const asio::use_awaitable_t<>, void(T)>(std::move(initiate), asio::use_awaitable);
}

/// Bulk work rests as long as it held the index.
inline asio::awaitable<void> rest(std::chrono::steady_clock::duration time) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, time);
  co_await timer.async_wait(asio::use_awaitable);
}

}  // namespace mailstore

#pragma once

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <exception>
#include <optional>
#include <utility>

#include "mailstore/types.hpp"

namespace tests {

/// Runs one awaitable to its end on the calling thread.
template <class T>
mailstore::Result<T> wait_for(asio::awaitable<mailstore::Result<T>> work) {
  asio::io_context io(1);
  std::optional<mailstore::Result<T>> result;
  auto body = [](asio::awaitable<mailstore::Result<T>> inner,
                 std::optional<mailstore::Result<T>>& out) -> asio::awaitable<void> {
    out.emplace(co_await std::move(inner));
  };
  asio::co_spawn(io, body(std::move(work), result), [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  });
  io.run();
  return std::move(*result);
}

}  // namespace tests

#pragma once

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <exception>
#include <optional>
#include <utility>

namespace tools {

/// Runs an operation of the store to its end on this thread: the tool does one thing at a time.
template <class T>
T run_awaitable(asio::awaitable<T> operation) {
  asio::io_context context{1};
  auto work = asio::make_work_guard(context);
  std::optional<T> result;
  std::exception_ptr trouble;
  asio::co_spawn(context, std::move(operation), [&](std::exception_ptr exception, T value) {
    trouble = std::move(exception);
    result.emplace(std::move(value));
    work.reset();
  });
  context.run();
  if (trouble) std::rethrow_exception(trouble);
  return std::move(*result);
}

}  // namespace tools

#pragma once

#include <asio/thread_pool.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <span>

#include "mailstore/committer.hpp"
#include "mailstore/core.hpp"
#include "mailstore/store.hpp"

namespace mailstore {

class Store::Impl : public std::enable_shared_from_this<Store::Impl> {
 public:
  Impl(Options options, const Identity& identity) : core(std::move(options), identity) {}
  Core core;
  asio::thread_pool spills{2};  ///< writes of streamed messages; they may wait for the disk
  std::unique_ptr<Committer> committer;

  /// Store::accept, and with `beside` the same in one transaction with a change of the queue.
  asio::awaitable<Result<void>> accept(Draft draft, Envelope envelope, BodyFacts facts,
                                       std::move_only_function<bool(Change&)> beside = {}, std::size_t beside_rows = 0,
                                       std::string hold = {});
  /// Store::begin.
  asio::awaitable<Result<Draft>> begin();
  /// Hands `work` to the commit thread; resumes the caller when it is durable.
  asio::awaitable<Result<void>> commit(std::size_t rows, std::move_only_function<Result<void>(Change&)> apply);
};

/// Where a message's record lies; asked again when the record turns out to have moved.
using FindRecord = std::function<Result<MessageRow>()>;
/// Opens a record for reading as Store::open_message does, without the lines of an owner.
Result<OpenMessage> open_record(Core& core, MessageId id, const FindRecord& find, std::span<char> scratch,
                                std::size_t want);

/// The number of a segment that was never made; blocks on the commit thread once in many calls.
Result<std::uint64_t> new_segment_number(Store::Impl& store);

class Draft::Impl {
 public:
  Impl(std::shared_ptr<Store::Impl> from, MessageId given) : store(std::move(from)), id(given) {}
  ~Impl();
  std::shared_ptr<Store::Impl> store;
  MessageId id;
  std::string buffer;
  std::uint64_t size = 0;
  std::uint64_t held = 0;  ///< octets of this draft that count towards the process's budget
  std::unique_ptr<StreamSegment> stream;
  std::optional<Error> stream_failed;
  /// XXH3 over what is streamed; a short message is summed in one go.
  std::unique_ptr<void, void (*)(void*)> checksum{nullptr, [](void*) {}};
};

}  // namespace mailstore

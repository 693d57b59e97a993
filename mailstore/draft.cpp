#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>

#include "mailstore/awaitable.hpp"
#include "mailstore/store_impl.hpp"

namespace mailstore {
namespace {

/// Runs blocking work on the pool; resumes the caller with its result.
template <class Work>
asio::awaitable<Result<void>> blocking(std::shared_ptr<Store::Impl> store, Work work) {
  auto start = [store = std::move(store), work = std::move(work)](auto done) mutable {
    auto& pool = store->spills;
    asio::post(pool, [work = std::move(work), done = std::move(done)]() mutable { done(guarded(work)); });
  };
  return await_completion<Result<void>>(std::move(start));
}

constexpr std::size_t small_draft = 16 << 10U;  // below this even a crowded process keeps a draft in memory

XXH3_state_t* sum_of(Draft::Impl& draft) {
  return static_cast<XXH3_state_t*>(draft.checksum.get());
}

}  // namespace

Result<std::uint64_t> new_segment_number(Store::Impl& store) {
  auto& core = store.core;
  auto number = core.segment_numbers.take();
  while (!number) {
    std::uint64_t first = 0;
    auto take = [&core, &first](Change& change) -> Result<void> {
      first = core.index.take_number(change.txn(), meta::next_segment, SegmentNumbers::block);
      return {};
    };
    auto taken = store.committer->run(Work{.rows = 1, .nested = true, .apply = std::move(take), .done = nullptr});
    if (!taken) return std::unexpected(taken.error());
    core.segment_numbers.give(first, SegmentNumbers::block);
    number = core.segment_numbers.take();
  }
  return *number;
}

StreamSegment::StreamSegment(Core& core, std::uint64_t number)
    : core_(core),
      writer_(core.files, core.turnstile, core.layout.segments,
              SegmentHeader{.number = number, .store = core.identity.name, .streamed = true}, core.identity.key) {}

void StreamSegment::write(std::string_view octets) {
  iovec piece{const_cast<char*>(octets.data()), octets.size()};
  writer_.append({&piece, 1}, octets.size());
}

std::string_view StreamSegment::read(std::uint64_t offset, std::span<char> into) const {
  for (;;) {
    const auto got =
        ::pread(writer_.descriptor(), into.data(), into.size(), static_cast<off_t>(segment_header_octets + offset));
    if (got > 0) return {into.data(), static_cast<std::size_t>(got)};
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) throw Failure(Errc::corrupt, "reading a draft: its file is too short");
    throw Failure(from_errno("reading a draft"));
  }
}

StreamSegment::~StreamSegment() {
  // Never accepted, so no row names it: the file goes while its lock is held.
  if (!kept_ && core_.files.unlink(segment_path(core_.layout.segments, writer_.number())) != 0)
    core_.warn(from_errno("unlinking the segment of a message that was not accepted").detail);
}

void StreamSegment::finish(const RecordHeader& given, std::string_view envelope) {
  auto& body = body_;
  body = {.segment = writer_.number(),
          .head_offset = aligned(writer_.end()),
          .body_offset = segment_header_octets,
          .stored_octets = writer_.end() - segment_header_octets};
  std::string tail(body.head_offset - writer_.end(), '\0');
  auto header = given;
  header.segment = body.segment;
  header.offset = body.head_offset;
  header.body_offset = body.body_offset;
  header.stored_octets = body.stored_octets;
  header.batch = 1;
  encode_head(header, envelope, core_.identity.key, tail);
  body.head_octets = static_cast<std::uint32_t>(record_header_octets + envelope.size());
  encode_segment_footer(body.head_offset, core_.identity.key, tail);
  write(tail);
  writer_.sync();
  body.end = writer_.end();
}

Draft::Impl::~Impl() {
  store->core.draft_octets.fetch_sub(held, std::memory_order_relaxed);
}

Draft::Draft(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Draft::Draft(Draft&&) noexcept = default;
Draft& Draft::operator=(Draft&&) noexcept = default;
Draft::~Draft() = default;
MessageId Draft::id() const {
  return impl_->id;
}
std::uint64_t Draft::size() const {
  return impl_->size;
}

void Draft::append(std::string_view octets) {
  impl_->buffer.append(octets);
  impl_->size += octets.size();
  impl_->held += octets.size();
  impl_->store->core.draft_octets.fetch_add(octets.size(), std::memory_order_relaxed);
}

bool Draft::wants_spill() const {
  const auto& core = impl_->store->core;
  const auto held = impl_->buffer.size();
  if (held >= core.options.stream_threshold) return true;
  return held >= small_draft && core.draft_octets.load(std::memory_order_relaxed) > core.options.memory_budget;
}

asio::awaitable<Result<void>> Draft::spill() {
  auto& draft = *impl_;
  if (draft.stream_failed) co_return std::unexpected(*draft.stream_failed);
  auto write = [&draft]() -> Result<void> {
    // Looked at for each piece: a long message must not eat the reserve that begin() left alone.
    if (!look_for_room(draft.store->core)) return fail(Errc::full, "the disk is down to [store] reserve");
    if (!draft.stream) {
      const auto number = new_segment_number(*draft.store);
      if (!number) return std::unexpected(number.error());
      draft.stream = std::make_unique<StreamSegment>(draft.store->core, *number);
      draft.checksum = {XXH3_createState(), [](void* state) { XXH3_freeState(static_cast<XXH3_state_t*>(state)); }};
      XXH3_64bits_reset(sum_of(draft));
    }
    XXH3_64bits_update(sum_of(draft), draft.buffer.data(), draft.buffer.size());
    draft.stream->write(draft.buffer);
    return {};
  };
  auto writing = blocking(draft.store, std::move(write));
  auto written = co_await std::move(writing);
  draft.store->core.draft_octets.fetch_sub(std::exchange(draft.held, 0), std::memory_order_relaxed);
  draft.buffer.clear();
  if (!written) {
    // Its room is given back now, not when the peer has sent the rest.
    draft.stream.reset();
    draft.stream_failed = written.error();
  }
  co_return written;
}

Result<std::string_view> Draft::read(std::uint64_t offset, std::span<char> into) const {
  const auto& draft = *impl_;
  if (draft.stream_failed) return std::unexpected(*draft.stream_failed);
  const std::uint64_t spilled = draft.size - draft.buffer.size();
  if (offset >= spilled) return std::string_view{draft.buffer}.substr(std::min(offset - spilled, draft.buffer.size()));
  return guarded([&]() -> Result<std::string_view> {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), spilled - offset));
    return draft.stream->read(offset, into.first(count));
  });
}

Draft Draft::beside() const {
  return Draft(std::make_unique<Impl>(impl_->store, impl_->id));
}

asio::awaitable<Result<void>> Draft::finish_stream(Arrival& arrival) {
  auto& draft = *impl_;
  if (!draft.buffer.empty()) {
    auto spilling = spill();
    auto spilled = co_await std::move(spilling);
    if (!spilled) co_return spilled;
  }
  auto finish = [&draft, &arrival]() -> Result<void> {
    arrival.checksum = XXH3_64bits_digest(sum_of(draft));
    const RecordHeader header{.id = arrival.id,
                              .octets = arrival.facts.octets,
                              .header_octets = arrival.facts.header_octets,
                              .body_checksum = arrival.checksum,
                              .stuffed = arrival.facts.stuffed};
    draft.stream->finish(header, arrival.encoded_envelope);
    arrival.streamed = std::move(draft.stream);
    return {};
  };
  auto finishing = blocking(draft.store, std::move(finish));
  co_return co_await std::move(finishing);
}

}  // namespace mailstore

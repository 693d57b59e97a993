#include "mailstore/store.hpp"

#include <fmt/format.h>
#include <sodium/core.h>
#include <sodium/randombytes.h>
#include <sys/stat.h>
#include <unistd.h>

#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>
#include <filesystem>

#include "mailstore/awaitable.hpp"
#include "mailstore/index_file.hpp"
#include "mailstore/queue_rows.hpp"
#include "mailstore/recovery.hpp"
#include "mailstore/store_impl.hpp"

namespace mailstore {
namespace {

void make_folder(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) != 0) throw Failure(from_errno(path));
}

/// What is missing of `path`, each name durable.
void make_folders(Files& files, const std::filesystem::path& path) {
  std::error_code error;
  if (path.empty() || std::filesystem::exists(path, error)) return;
  make_folders(files, path.parent_path());
  make_folder(path.string(), 0755);
  if (files.sync_folder(path.parent_path().string()) != 0) throw Failure(from_errno(path.string()));
}

void start_ids(Core& core) {
  const auto slot = core.writer_slot.take();
  const auto now = core.now();
  std::optional<Turnstile::Pass> pass(std::in_place, core.turnstile);
  lmdb::Txn txn(core.index.env(), 0);
  pass.reset();
  const auto stored = core.index.number(txn.get(), meta::id_limit);
  const auto limit = std::max(now, stored) + IdSource::window;
  core.index.set_number(txn.get(), meta::id_limit, limit);
  if (const int code = txn.try_commit(); code != MDB_SUCCESS) {
    if (core.index.broken()) {
      // As in the committer, which may never be asked for anything: without ids nothing is handed in.
      core.warn("the index failed while it was written and serves this process no more, so it ends");
      ::_exit(1);
    }
    lmdb::raise(code, "mdb_txn_commit");
  }
  core.ids.start(now, stored, limit, slot, core.generation);
}

}  // namespace

Result<void> Store::init(const Options& options) {
  return guarded([&]() -> Result<void> {
    if (sodium_init() < 0) throw Failure(Errc::unavailable, "libsodium does not start");
    auto whole = std::filesystem::absolute(options.path).lexically_normal();
    if (!whole.has_filename()) whole = whole.parent_path();
    const Layout layout(whole);
    auto& files = options.files != nullptr ? *options.files : system_files();
    std::error_code error;
    if (std::filesystem::exists(layout.identity, error))
      return fail(Errc::exists, "there is a store at " + layout.root + " already");
    if (std::filesystem::exists(layout.root, error)) {
      if (!std::filesystem::is_empty(layout.root, error) || error) {
        return fail(Errc::conflict, layout.root + " is not empty and holds no store; name an empty or a new folder");
      }
    } else {
      make_folders(files, whole.parent_path());
      make_folder(layout.root, 0700);
    }
    for (const auto& folder : {layout.index, layout.segments, layout.journal, layout.locks}) make_folder(folder, 0700);
    {
      Index index;
      index.open(layout.index, options.map_size, true);
      lmdb::Txn txn(index.env(), 0);
      index.set_number(txn.get(), meta::format, format_version);
      index.set_number(txn.get(), meta::generation, 1 + randombytes_uniform(4095));
      txn.commit();
    }
    if (files.sync_folder(layout.index) != 0) throw Failure(from_errno(layout.index));
    Identity identity{.format = format_version};
    randombytes_buf(&identity.name, sizeof identity.name);
    randombytes_buf(identity.key.data(), identity.key.size());
    write_identity(files, layout, identity);  // last: without it there is no store
    if (files.sync_folder(whole.parent_path().string()) != 0) throw Failure(from_errno(layout.root));
    return {};
  });
}

Result<std::shared_ptr<Store>> Store::open(Options options) {
  const Layout layout(options.path);
  auto opened = guarded([&]() -> Result<std::shared_ptr<Store>> {
    if (sodium_init() < 0) throw Failure(Errc::unavailable, "libsodium does not start");
    const auto identity = read_identity(layout);
    const auto map_size = options.map_size;
    // Before anything else of this process opens the file: closing it drops LMDB's locks.
    const auto checked = check_index_file(layout.index + "/data.mdb", IndexCheck::quick);
    if (!checked) return std::unexpected(checked.error());
    auto impl = std::make_shared<Impl>(std::move(options), identity);
    auto& core = impl->core;
    core.index.open(layout.index, map_size, false);
    {
      const ReadTxn txn(core.index);
      const auto format = core.index.number(txn, meta::format);
      if (format != format_version) {
        return fail(Errc::unusable,
                    fmt::format("the index has format {}, this program knows format {}", format, format_version));
      }
      core.generation = core.index.number(txn, meta::generation);
    }
    recover(core);
    impl->committer = std::make_unique<Committer>(core);
    return std::make_shared<Store>(std::move(impl));
  });
  if (!opened && opened.error().code == Errc::corrupt) {
    return fail(
        Errc::unusable,
        fmt::format("the index of the store at {} cannot be used ({}); stop the daemons and run 'pennypost store "
                    "rebuild'",
                    layout.root, opened.error().detail));
  }
  return opened;
}

Store::Store(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Store::~Store() {
  impl_->spills.join();
  impl_->committer.reset();
}

asio::awaitable<Result<void>> Store::Impl::commit(std::size_t rows,
                                                  std::move_only_function<Result<void>(Change&)> apply) {
  auto start = [self = shared_from_this(), rows, apply = std::move(apply)](auto done) mutable {
    self->committer->submit(Work{.rows = rows, .nested = true, .apply = std::move(apply), .done = std::move(done)});
  };
  return await_completion<Result<void>>(std::move(start));
}

asio::awaitable<Result<Draft>> Store::begin() {
  return impl_->begin();
}

asio::awaitable<Result<void>> Store::accept(Draft draft, Envelope envelope, BodyFacts facts) {
  return impl_->accept(std::move(draft), std::move(envelope), facts);
}

asio::awaitable<Result<void>> Store::accept_held(Draft draft, Envelope envelope, BodyFacts facts, std::string reason) {
  return impl_->accept(std::move(draft), std::move(envelope), facts, {}, 0, std::move(reason));
}

Queue Store::queue() {
  return Queue(impl_);
}

asio::awaitable<Result<Draft>> Store::Impl::begin() {
  const auto self = shared_from_this();
  if (!has_room(core)) co_return fail(Errc::full, "the disk is down to [store] reserve");
  for (int attempt = 0; attempt < 3; ++attempt) {
    if (const auto id = core.ids.next(core.now())) {
      co_return Draft(std::make_unique<Draft::Impl>(self, *id));
    }
    if (!core.ids.started()) {
      auto started = guarded([&]() -> Result<void> {
        static std::mutex once;
        const std::lock_guard hold(once);
        if (!core.ids.started()) start_ids(core);
        return {};
      });
      if (!started) co_return std::unexpected(started.error());
      continue;
    }
    // After a quiet minute: the durable limit of ids is raised first, as every commit does when it is low.
    auto nothing = [](Change&) -> Result<void> { return {}; };
    auto raising = commit(1, std::move(nothing));
    auto raised = co_await std::move(raising);
    if (!raised) co_return std::unexpected(raised.error());
  }
  co_return fail(Errc::unavailable, "no message id could be reserved: is the clock far in the future?");
}

asio::awaitable<Result<void>> Store::Impl::accept(Draft draft, Envelope envelope, BodyFacts facts,
                                                  std::move_only_function<bool(Change&)> beside,
                                                  std::size_t beside_rows, std::string hold) {
  const auto self = shared_from_this();
  auto& from = *draft.impl_;
  Arrival arrival{.id = from.id,
                  .envelope = std::move(envelope),
                  .facts = facts,
                  .encoded_envelope = {},
                  .body = {},
                  .checksum = 0,
                  .streamed = nullptr,
                  .beside = std::move(beside),
                  .beside_rows = beside_rows,
                  .hold = std::move(hold),
                  .done = nullptr};
  encode_envelope(arrival.envelope, arrival.encoded_envelope);
  // An entry numbers its owner with 16 bits; a longer envelope would be taken for damage.
  const auto& all = arrival.envelope;
  if (all.owners.size() > 0xFFFF || all.remotes.size() > 0xFFFF || arrival.encoded_envelope.size() > envelope_limit)
    co_return fail(Errc::conflict, "the message has more recipients than a record can name");
  if (from.stream_failed) co_return std::unexpected(*from.stream_failed);
  for (const auto& remote : all.remotes) {
    if (!can_be_queued(remote.address))
      co_return fail(Errc::conflict, "a recipient's address is too long, or no address, for the queue");
  }
  if (from.stream) {
    auto finishing = draft.finish_stream(arrival);
    auto finished = co_await std::move(finishing);
    if (!finished) co_return finished;
  } else {
    arrival.body = std::move(from.buffer);
    arrival.checksum = body_checksum(arrival.body);
  }
  auto start = [this, &arrival](auto done) {
    arrival.done = std::move(done);
    committer->submit(std::move(arrival));
  };
  auto committing = await_completion<Result<void>>(std::move(start));
  co_return co_await std::move(committing);
}

asio::awaitable<Result<RemoveResult>> Store::remove(const MaildropLock& lock, std::vector<MessageId> ids) {
  // In pieces, each durable by itself, with rests: a long QUIT does not hold the index from others.
  constexpr std::size_t piece = 250;  // four rows each
  RemoveResult total;
  const auto mailbox = lock.mailbox();
  auto counted = std::make_shared<std::uint64_t>(0);
  for (std::size_t at = 0; at < ids.size(); at += piece) {
    std::vector<MessageId> some(ids.begin() + static_cast<std::ptrdiff_t>(at),
                                ids.begin() + static_cast<std::ptrdiff_t>(std::min(ids.size(), at + piece)));
    const auto rows = 4 * some.size();
    auto apply = [mailbox, some = std::move(some), counted](Change& change) -> Result<void> {
      *counted = 0;
      for (const auto id : some) *counted += change.remove_entry(mailbox, id) ? 1 : 0;
      return {};
    };
    const auto begun = std::chrono::steady_clock::now();
    auto removing = impl_->commit(rows, std::move(apply));
    const auto removed = co_await std::move(removing);
    if (!removed) co_return std::unexpected(removed.error());
    if (at + piece < ids.size()) {
      auto resting = rest(std::chrono::steady_clock::now() - begun);
      co_await std::move(resting);
    }
    total.removed += *counted;
    impl_->core.counters.removed.fetch_add(*counted, std::memory_order_relaxed);
  }
  co_return total;
}

CommitCounters Store::counters() const {
  const auto& from = impl_->core.counters;
  return {.commits = from.commits,
          .accepted = from.accepted,
          .entries = from.entries,
          .removed = from.removed,
          .overlapped = from.overlapped,
          .failed = from.failed,
          .queued = from.queued,
          .settled = from.settled};
}

}  // namespace mailstore

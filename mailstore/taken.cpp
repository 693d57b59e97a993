// Messages that are made of something outside the store, remembered until that is put away.
#include <memory>
#include <utility>

#include "mailstore/store_impl.hpp"

namespace mailstore {
namespace {

constexpr const char* taken_already = "it was taken before";

}  // namespace

asio::awaitable<Result<void>> Store::accept_once(Draft draft, Envelope envelope, BodyFacts facts, std::string origin,
                                                 std::string hold) {
  if (origin.empty() || origin.size() > origin_limit)
    co_return fail(Errc::conflict, "the name of what is to be taken is empty or too long");
  const auto id = draft.id();
  const auto before = std::make_shared<bool>(false);
  auto take = [origin = std::move(origin), id, before](Change& change) {
    *before = !change.take(origin, id);
    return !*before;
  };
  // `beside` also has the octets synced before the commit: a row that says "taken" must not outlive them.
  auto accepting = impl_->accept(std::move(draft), std::move(envelope), facts, std::move(take), 1, std::move(hold));
  auto accepted = co_await std::move(accepting);
  if (!accepted && *before) co_return fail(Errc::exists, taken_already);
  co_return accepted;
}

Result<std::optional<MessageId>> Store::taken(std::string_view origin) {
  return guarded([&]() -> Result<std::optional<MessageId>> {
    const ReadTxn txn(impl_->core.index);
    return impl_->core.index.taken(txn, origin);
  });
}

Result<std::vector<std::string>> Store::taken_origins(std::string_view prefix) {
  return guarded([&]() -> Result<std::vector<std::string>> {
    std::vector<std::string> found;
    const ReadTxn txn(impl_->core.index);
    lmdb::Cursor cursor(txn, impl_->core.index.tables().taken);
    for (auto row = cursor.seek(prefix); row && row->key.starts_with(prefix); row = cursor.next())
      found.emplace_back(row->key);
    return found;
  });
}

asio::awaitable<Result<void>> Store::forget_taken(std::vector<std::string> origins) {
  if (origins.empty()) co_return Result<void>{};
  const auto rows = origins.size();
  auto forget = [origins = std::move(origins)](Change& change) -> Result<void> {
    for (const auto& origin : origins) change.forget_taken(origin);
    return {};
  };
  auto forgetting = impl_->commit(rows, std::move(forget));
  co_return co_await std::move(forgetting);
}

}  // namespace mailstore

#include "common/auth/verifier.hpp"

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/post.hpp>
#include <asio/prefer.hpp>
#include <asio/use_awaitable.hpp>

#include "common/auth/password.hpp"
#include "common/auth/remembered.hpp"
#include "common/clock.hpp"
#include "common/log.hpp"

namespace common::auth {
namespace {

using Done = std::move_only_function<void(Verdict)>;

struct Job {
  std::uint64_t account = 0;
  std::uint64_t version = 0;
  std::string hash;
  Secret password;
  Remembered::Digest digest{};
  Done done;
};

/// A hash of no password that anybody knows: what unknown accounts are checked against.
std::string make_dummy() {
  auto hashes = make_hashes(Secret{std::string{"nobody's password, for the time it takes"}});
  if (!hashes) throw std::runtime_error(hashes.error());
  return std::move(hashes->password_hash);
}

}  // namespace

class Verifier::Impl {
 public:
  Impl(std::size_t threads, std::size_t capacity) : remembered{capacity}, dummy_{make_dummy()} {
    for (std::size_t i = 0; i < std::max<std::size_t>(threads, 1); ++i) threads_.emplace_back([this] { run(); });
  }

  ~Impl() {
    {
      const std::lock_guard lock{mutex_};
      stopping_ = true;
    }
    wake_.notify_all();
    for (auto& thread : threads_) thread.join();
    for (auto& job : waiting_) job.done(Verdict::busy);
  }

  void submit(Job job) {
    {
      const std::lock_guard lock{mutex_};
      if (waiting_.size() < most_waiting) {
        waiting_.push_back(std::move(job));
        wake_.notify_one();
        return;
      }
      ++refused_;
    }
    tell_overload();
    job.done(Verdict::busy);
  }

  const std::string& dummy() const { return dummy_; }
  Remembered remembered;

 private:
  void run() {
    std::unique_lock lock{mutex_};
    for (;;) {
      wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (stopping_) return;
      auto job = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      check(std::move(job));
      lock.lock();
    }
  }

  void check(Job job) {
    const bool right = check_password(job.version == 0 || job.hash.empty() ? dummy_ : job.hash, job.password) &&
                       job.version != 0 && !job.hash.empty();
    if (right) remembered.add(job.account, job.version, job.digest);
    job.done(right ? Verdict::right : Verdict::wrong);
  }

  void tell_overload() {
    const auto now = system_clock_source().steady();
    std::uint64_t refused = 0;
    {
      const std::lock_guard lock{mutex_};
      if (told_ && now - *told_ < std::chrono::minutes{1}) return;
      told_ = now;
      refused = std::exchange(refused_, 0);
    }
    log::warning("auth.overload", {{"waiting", std::uint64_t{most_waiting}}, {"refused", refused}});
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> waiting_;
  bool stopping_ = false;
  std::uint64_t refused_ = 0;
  std::optional<Clock::Steady> told_;
  std::string dummy_;
  std::vector<std::thread> threads_;
};

Verifier::Verifier(std::size_t threads, std::size_t remembered) : impl_{std::make_unique<Impl>(threads, remembered)} {}
Verifier::~Verifier() = default;

asio::awaitable<Verdict> Verifier::verify(std::uint64_t account, const StoredKeys& keys, const Secret& password) {
  Job job;
  job.account = account;
  job.version = keys.version;
  job.digest = impl_->remembered.digest(account, keys.version, password.reveal());
  if (impl_->remembered.contains(account, keys.version, job.digest)) co_return Verdict::right;
  job.hash = keys.password_hash;
  // A copy: the caller's coroutine may be gone before a thread is free.
  job.password = Secret{std::string{password.reveal()}};

  auto hand_in = [this, &job](auto handler) {
    auto executor = asio::prefer(asio::get_associated_executor(handler), asio::execution::outstanding_work.tracked);
    job.done = [executor, resume = std::move(handler)](Verdict verdict) mutable {
      // What counts as work goes along: once this is posted its context may be gone at any moment.
      const auto there = asio::prefer(executor, asio::execution::outstanding_work.untracked);
      asio::post(there,
                 [executor = std::move(executor), resume = std::move(resume), verdict]() mutable { resume(verdict); });
    };
    impl_->submit(std::move(job));
  };
  const auto verdict =
      co_await asio::async_initiate<const asio::use_awaitable_t<>&, void(Verdict)>(hand_in, asio::use_awaitable);
  co_return verdict;
}

asio::awaitable<bool> Verifier::check(std::uint64_t account, const StoredKeys& keys, const Secret& password) {
  const auto verdict = co_await verify(account, keys, password);
  co_return verdict == Verdict::right;
}

}  // namespace common::auth

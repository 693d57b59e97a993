#include "common/log.hpp"

#include <signal.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/sinks/systemd_sink.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <list>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "common/escape.hpp"
#include "common/log_line.hpp"

namespace common::log {
namespace {

using config::LogLevel;
using Sink = std::shared_ptr<spdlog::sinks::sink>;

constexpr std::chrono::milliseconds write_interval{50};
/// Of lines that wait and lines being written together; beyond it lines are counted and dropped.
constexpr std::size_t memory_limit = 8 << 20;
constexpr LogLevel level_before_start = LogLevel::warning;

/// Lines on their way: one text, and where each line of it ends.
struct Batch {
  struct End {
    std::uint32_t octets;  ///< of the line, its line feed included
    LogLevel level;
  };
  std::string text;
  std::vector<End> lines;
  void append(const Batch& other) {
    text += other.text;
    lines.insert(lines.end(), other.lines.begin(), other.lines.end());
  }
  /// Keeps its room for the next lines, but not what a flood took.
  void clear() {
    if (text.capacity() > (1U << 20U)) {
      *this = {};
    } else {
      text.clear();
      lines.clear();
    }
  }
};

/// Where lines go.
struct Target {
  Sink sink;
  bool single = false;  ///< takes one line a call, with its level and without a line feed
  Form form = Form::text;
};

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::error:
      return spdlog::level::err;
    case LogLevel::warning:
      return spdlog::level::warn;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::debug:
      break;
  }
  return spdlog::level::debug;
}

Time now() {
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

std::unexpected<std::string> refuse(std::string_view target, std::string_view why, std::string_view remedy) {
  return std::unexpected(fmt::format("log.target \"{}\": {}; {}", escape(target), why, remedy));
}

std::expected<Sink, std::string> open_file(const std::string& path) {
  // spdlog would make missing folders, and a mistyped path would be a log that nobody finds.
  std::error_code error;
  const auto folder = std::filesystem::path{path}.parent_path();
  if (!std::filesystem::is_directory(folder, error)) {
    return refuse(path, "its folder does not exist", "make the folder, writable for the user the daemon runs as");
  }
  try {
    return std::make_shared<spdlog::sinks::basic_file_sink_st>(path);
  } catch (const spdlog::spdlog_ex& failure) {
    return refuse(path, escape(failure.what()), "make it writable for the user the daemon runs as");
  }
}

std::expected<Target, std::string> open_target(const config::Log& settings, const std::string& program) {
  Target target;
  target.form = settings.format == "json" ? Form::json : Form::text;
  if (settings.target == "stderr") {
    target.sink = std::make_shared<spdlog::sinks::stderr_sink_st>();
  } else if (settings.target == "journald" || settings.target == "syslog") {
    const bool journal = settings.target == "journald";
    // Without these sockets both libraries drop what they are given and say nothing.
    if (access(journal ? "/run/systemd/journal/socket" : "/dev/log", W_OK) != 0) {
      return refuse(settings.target, "it does not run on this machine",
                    R"(start it, or write "stderr" or a file's path)");
    }
    target.single = true;
    if (target.form == Form::text) target.form = Form::bare;
    if (journal) {
      target.sink = std::make_shared<spdlog::sinks::systemd_sink_st>(program);
    } else {
      // LOG_NDELAY: once the sandbox is closed it is too late to connect.
      target.sink = std::make_shared<spdlog::sinks::syslog_sink_st>(program, LOG_PID | LOG_NDELAY, LOG_MAIL, false);
    }
  } else {
    auto file = open_file(settings.target);
    if (!file) return std::unexpected(std::move(file.error()));
    target.sink = std::move(*file);
  }
  // Lines come formatted, with their line feed.
  target.sink->set_formatter(
      std::make_unique<spdlog::pattern_formatter>("%v", spdlog::pattern_time_type::utc, std::string{}));
  return target;
}

void send(const Target& target, const Batch& batch) {
  if (!target.single) {
    target.sink->log(spdlog::details::log_msg{"", spdlog::level::info, batch.text});
    target.sink->flush();
    return;
  }
  std::string_view rest = batch.text;
  for (const auto& [octets, level] : batch.lines) {
    const auto line = rest.substr(0, octets - 1);
    target.sink->log(spdlog::details::log_msg{"", to_spdlog(level), {line.data(), line.size()}});
    rest.remove_prefix(octets);
  }
}

/// The log of the process.
class Log {
 public:
  std::expected<void, std::string> start(const config::Log& settings, std::string_view program);
  void stop();
  bool enabled(LogLevel level) const { return level <= level_.load(std::memory_order_relaxed); }
  void write(LogLevel level, std::string_view event, std::initializer_list<Field> fields);

 private:
  void run();
  void add(std::string_view line, LogLevel level);
  bool send_or_complain(const Batch& batch);

  // What makes a line; read without the mutex.
  std::atomic<LogLevel> level_ = level_before_start;
  std::atomic<Form> form_ = Form::text;
  std::list<std::string> programs_{
      "pennypost"};  ///< every name since the process began: a writer may still read an old one
  std::atomic<const std::string*> program_ = &programs_.back();

  std::mutex control_;  ///< start and stop take turns
  std::thread thread_;  ///< whose turn it is

  std::mutex mutex_;
  std::condition_variable wake_;
  Batch waiting_;
  Batch earlier_;  ///< lines from before a start that the thread has not noticed yet
  Target next_;    ///< the target of that start
  std::size_t being_written_ = 0;
  std::uint64_t lost_ = 0;
  bool urgent_ = false;
  bool running_ = false;
  bool ending_ = false;

  // The thread's while it runs.
  Target target_;
  bool complained_ = false;
};

std::expected<void, std::string> Log::start(const config::Log& settings, std::string_view program) {
  const std::scoped_lock turn{control_};
  auto target = open_target(settings, std::string{program});
  if (!target) return std::unexpected(std::move(target.error()));
  const std::scoped_lock lock{mutex_};
  if (programs_.back() != program) program_ = &programs_.emplace_back(program);
  form_ = target->form;
  level_ = settings.level;
  if (running_) {
    earlier_.append(std::exchange(waiting_, {}));
    next_ = std::move(*target);
    urgent_ = true;
    wake_.notify_one();
    return {};
  }
  target_ = std::move(*target);
  running_ = true;
  ending_ = false;
  // Signals are for the threads that wait for them.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread{[this] { run(); }};
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return {};
}

void Log::stop() {
  const std::scoped_lock turn{control_};
  {
    const std::scoped_lock lock{mutex_};
    if (!running_) return;
    ending_ = true;
    wake_.notify_one();
  }
  thread_.join();
  const std::scoped_lock lock{mutex_};
  running_ = false;
  waiting_.clear();
  target_ = {};
  form_ = Form::text;
  level_ = level_before_start;
}

void Log::add(std::string_view line, LogLevel level) {
  if (waiting_.text.size() + being_written_ + line.size() > memory_limit) {
    ++lost_;
    return;
  }
  const bool first = waiting_.text.empty();
  const bool urgent = level <= LogLevel::warning;
  waiting_.text += line;
  waiting_.lines.push_back({static_cast<std::uint32_t>(line.size()), level});
  urgent_ = urgent_ || urgent;
  // In between the thread sleeps on its timer or has work: to wake it for each line would be most of the line's cost.
  if (first || urgent) wake_.notify_one();
}

void Log::write(LogLevel level, std::string_view event, std::initializer_list<Field> fields) {
  if (!enabled(level)) return;
  thread_local std::string line;
  const Time time = now();
  for (;;) {
    const Form form = form_.load();
    line.clear();
    append_line(line, form, time, level, *program_.load(), event, fields);
    const std::scoped_lock lock{mutex_};
    // A start between the two: the new target may want another form.
    if (form != form_.load()) continue;
    if (running_) return add(line, level);
    std::fwrite(line.data(), 1, line.size(), stderr);
    return;
  }
}

bool Log::send_or_complain(const Batch& batch) {
  if (batch.text.empty()) return true;
  try {
    send(target_, batch);
    complained_ = false;
    return true;
  } catch (const spdlog::spdlog_ex& failure) {
    if (!std::exchange(complained_, true)) {
      std::string line;
      append_line(line, Form::text, now(), LogLevel::error, *program_.load(), "log.write_failed",
                  {{"why", std::string_view{failure.what()}}});
      std::fwrite(line.data(), 1, line.size(), stderr);
    }
    return false;
  }
}

void Log::run() {
  Batch earlier;
  Batch batch;
  std::unique_lock lock{mutex_};
  for (;;) {
    wake_.wait(lock, [this] { return urgent_ || ending_ || !waiting_.text.empty(); });
    wake_.wait_for(lock, write_interval, [this] { return urgent_ || ending_; });
    urgent_ = false;
    std::swap(earlier, earlier_);
    std::swap(batch, waiting_);
    const auto lost = std::exchange(lost_, 0);
    Target next = std::exchange(next_, {});
    being_written_ = earlier.text.size() + batch.text.size();
    lock.unlock();

    std::uint64_t failed = send_or_complain(earlier) ? 0 : earlier.lines.size();
    if (next.sink) target_ = std::move(next);
    const std::size_t lines = batch.lines.size();
    if (lost > 0) {
      const auto before = batch.text.size();
      append_line(batch.text, target_.form, now(), LogLevel::warning, *program_.load(), "log.lost", {{"lines", lost}});
      batch.lines.push_back({static_cast<std::uint32_t>(batch.text.size() - before), LogLevel::warning});
    }
    if (!send_or_complain(batch)) failed += lines + lost;
    earlier.clear();
    batch.clear();

    lock.lock();
    being_written_ = 0;
    lost_ += failed;
    const bool all_told = waiting_.text.empty() && lost_ == 0;
    if (ending_ && (all_told || failed > 0)) return;
  }
}

/// Never destroyed: a thread may log while the process exits.
Log& process_log() {
  static Log& log = *[] {
    std::atexit([] { process_log().stop(); });
    return new Log;
  }();
  return log;
}

}  // namespace

std::expected<void, std::string> start(const config::Log& settings, std::string_view program) {
  return process_log().start(settings, program);
}
void stop() {
  process_log().stop();
}
bool enabled(config::LogLevel level) {
  return process_log().enabled(level);
}
void write(config::LogLevel level, std::string_view event, std::initializer_list<Field> fields) {
  process_log().write(level, event, fields);
}

}  // namespace common::log

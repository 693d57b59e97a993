#include "common/log.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "common/log_line.hpp"

namespace logging = common::log;
using common::config::LogLevel;
using namespace std::string_literals;

namespace {

class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "pennypost-log-XXXXXX").native();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::filesystem::path operator/(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

std::string content(const std::filesystem::path& file) {
  std::ifstream in{file};
  return {std::istreambuf_iterator<char>{in}, {}};
}
std::vector<std::string> lines(const std::filesystem::path& file) {
  std::ifstream in{file};
  std::vector<std::string> all;
  for (std::string line; std::getline(in, line);) all.push_back(line);
  return all;
}

common::config::Log to_file(const std::filesystem::path& file, LogLevel level = LogLevel::info,
                            std::string format = "text") {
  return {level, file.native(), std::move(format)};
}

logging::Time at(std::int64_t milliseconds) {
  return logging::Time{std::chrono::milliseconds{milliseconds}};
}

std::string line(logging::Form form, std::initializer_list<logging::Field> fields) {
  std::string out;
  logging::append_line(out, form, at(1795467428123), LogLevel::info, "smtpd", "message.accepted", fields);
  return out;
}

}  // namespace

TEST_CASE("the form of a line") {
  using logging::Form;
  CHECK(line(Form::text, {}) == "2026-11-23T20:57:08.123Z info smtpd message.accepted\n");
  CHECK(line(Form::text,
             {{"id", "aaaaaaaaaaaac"}, {"size", std::uint64_t{4096}}, {"left", std::int64_t{-1}}, {"tls", true}}) ==
        "2026-11-23T20:57:08.123Z info smtpd message.accepted id=aaaaaaaaaaaac size=4096 left=-1 tls=true\n");
  CHECK(line(Form::bare, {{"from", "<a b@x>"}, {"to", "<a@x>"}, {"empty", ""}, {"bad", "x\ny"}}) ==
        "message.accepted from=\"<a b@x>\" to=<a@x> empty=\"\" bad=\"x\\ny\"\n");
  CHECK(
      line(Form::json, {{"size", std::uint64_t{4096}}, {"text", "\"\x1B\xFF"}}) ==
      R"({"time":"2026-11-23T20:57:08.123Z","level":"info","program":"smtpd","event":"message.accepted","size":4096,"text":"\"\u001B\\xFF"})"
      "\n");
}

TEST_CASE("every second gets its own text") {
  std::string out;
  logging::append_time(out, at(0));
  CHECK(out == "1970-01-01T00:00:00.000Z");
  out.clear();
  logging::append_time(out, at(999));
  CHECK(out == "1970-01-01T00:00:00.999Z");
  out.clear();
  logging::append_time(out, at(1000));
  CHECK(out == "1970-01-01T00:00:01.000Z");
}

TEST_CASE("lines reach the file in their order, from the configured level up") {
  const Folder folder;
  REQUIRE(logging::start(to_file(folder / "log"), "smtpd"));
  CHECK(logging::enabled(LogLevel::info));
  CHECK_FALSE(logging::enabled(LogLevel::debug));
  logging::debug("not.seen");
  for (int i = 0; i < 1000; ++i) logging::info("line", {{"n", std::int64_t{i}}});
  logging::error("last");
  logging::stop();
  const auto all = lines(folder / "log");
  REQUIRE(all.size() == 1001);
  CHECK(all[0].ends_with("Z info smtpd line n=0"));
  CHECK(all[999].ends_with("Z info smtpd line n=999"));
  CHECK(all[1000].ends_with("Z error smtpd last"));
}

TEST_CASE("an error is written without stop") {
  const Folder folder;
  REQUIRE(logging::start(to_file(folder / "log"), "smtpd"));
  logging::warning("now");
  // Bounded: a line that never comes fails the test and does not hang it.
  for (int i = 0; i < 5000 && content(folder / "log").empty(); ++i) usleep(1000);
  CHECK(content(folder / "log").ends_with("warning smtpd now\n"));
  logging::stop();
}

TEST_CASE("a file that was moved away is made anew by the next start") {
  const Folder folder;
  REQUIRE(logging::start(to_file(folder / "log"), "smtpd"));
  logging::info("before");
  std::filesystem::rename(folder / "log", folder / "log.1");
  REQUIRE(logging::start(to_file(folder / "log", LogLevel::debug, "json"), "smtpd"));
  logging::debug("after");
  logging::stop();
  CHECK(lines(folder / "log.1").size() == 1);
  CHECK(content(folder / "log.1").ends_with("info smtpd before\n"));
  const auto all = lines(folder / "log");
  REQUIRE(all.size() == 1);
  CHECK(nlohmann::json::parse(all[0]).at("event") == "after");
}

TEST_CASE("a target that cannot be opened is refused with the remedy, and the old one stays") {
  const Folder folder;
  REQUIRE(logging::start(to_file(folder / "log"), "smtpd"));
  const auto started = logging::start(to_file(folder / "missing/log"), "smtpd");
  REQUIRE_FALSE(started);
  CHECK(started.error().find("make the folder") != std::string::npos);
  logging::info("still here");
  logging::stop();
  CHECK(lines(folder / "log").size() == 1);
  CHECK_FALSE(std::filesystem::exists(folder / "missing"));
}

TEST_CASE("many threads: no line is torn, lost or doubled, also over a change of file") {
  const Folder folder;
  REQUIRE(logging::start(to_file(folder / "one"), "pop3d"));
  constexpr int threads = 4;
  constexpr int each = 5000;
  std::vector<std::thread> writers;
  for (int t = 0; t < threads; ++t) {
    writers.emplace_back([t] {
      for (int i = 0; i < each; ++i) logging::info("line", {{"t", std::int64_t{t}}, {"i", std::int64_t{i}}});
    });
  }
  REQUIRE(logging::start(to_file(folder / "two"), "pop3d"));
  for (auto& writer : writers) writer.join();
  logging::stop();
  auto all = lines(folder / "one");
  const auto more = lines(folder / "two");
  all.insert(all.end(), more.begin(), more.end());
  CHECK(all.size() == threads * each);
  std::vector<int> next(threads, 0);
  for (const auto& text : all) {
    int t = -1;
    int i = -1;
    const auto from = text.find(" line t=");
    REQUIRE(from != std::string::npos);
    REQUIRE(std::sscanf(text.c_str() + from, " line t=%d i=%d", &t, &i) == 2);
    CHECK(next.at(static_cast<std::size_t>(t))++ == i);
  }
}

TEST_CASE("a disk that takes nothing: lines are counted, callers go on, memory stays bounded") {
  // Nobody reads this pipe: the thread of the log hangs in its write as with a dead disk.
  const Folder folder;
  const auto pipe = folder / "pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  std::fstream holder{pipe, std::ios::in | std::ios::out};  // so that opening does not wait
  REQUIRE(logging::start(to_file(pipe), "smtpd"));
  const std::string value(500, 'x');
  constexpr std::uint64_t written = 40000;  // 22 MB
  for (std::uint64_t i = 0; i < written; ++i) logging::info("line", {{"v", value}});
  std::uint64_t seen = 0;
  std::uint64_t lost = 0;
  std::thread ending{[&pipe] {
    logging::stop();
    std::ofstream{pipe} << "end" << std::endl;
  }};
  for (std::string text; std::getline(holder, text) && text != "end";) {
    const auto told = text.find(" warning smtpd log.lost lines=");
    if (told == std::string::npos) {
      ++seen;
    } else {
      lost += std::stoull(text.substr(text.rfind('=') + 1));
    }
  }
  ending.join();
  CHECK(lost > 0);
  CHECK(seen + lost == written);
  CHECK(seen * 550 < (9U << 20U));
}

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "samples.hpp"

namespace fs = std::filesystem;
using samples::all;

namespace {

class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "pennypost-config-XXXXXX").native();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() { fs::remove_all(path_); }
  void write(const char* name, const std::string& text) const {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream{path_ / name} << text;
  }
  fs::path operator/(const char* name) const { return path_ / name; }

 private:
  fs::path path_;
};

}  // namespace

TEST_CASE("the suite file and the servers beside it, by name") {
  const Folder folder;
  folder.write("pennypost.toml", "[run]\nthreads = 2\n");
  folder.write("servers/post.toml", samples::pop3);
  folder.write("servers/mx.toml", samples::smtp);
  folder.write("servers/.mx.toml", "broken");
  folder.write("servers/mx.toml~", "broken");
  folder.write("servers/notes.txt", "broken");
  const auto loaded = common::config::load(folder / "pennypost.toml");
  REQUIRE(loaded);
  CHECK(loaded->warnings.empty());
  CHECK(loaded->config.suite.run.threads == 2);
  REQUIRE(loaded->config.servers.size() == 2);
  CHECK(loaded->config.servers[0].id == "mx");
  CHECK(loaded->config.servers[1].id == "post");
  CHECK(loaded->config.servers[1].file == folder / "servers/post.toml");
}

TEST_CASE("no servers is a warning") {
  const Folder folder;
  folder.write("pennypost.toml", "");
  const auto loaded = common::config::load(folder / "pennypost.toml");
  REQUIRE(loaded);
  REQUIRE(loaded->warnings.size() == 1);
  CHECK(all(loaded->warnings).starts_with((folder / "servers").native() + ": there is no virtual server; "));
}

TEST_CASE("files that cannot be read") {
  const Folder folder;
  folder.write("servers/a.toml/x", "");
  folder.write("servers/b.toml", "knd = 5");
  folder.write("servers/c.toml", std::string((1 << 20) + 1, '\n'));
  const auto loaded = common::config::load(folder / "pennypost.toml");
  REQUIRE_FALSE(loaded);
  const auto report = all(loaded.error());
  CAPTURE(report);
  CHECK(report.find("pennypost.toml: cannot be read: No such file or directory; name another") != std::string::npos);
  CHECK(report.find("a.toml: cannot be read: Is a directory; ") != std::string::npos);
  CHECK(report.find("b.toml:1: knd: is not a known key; did you mean kind?") != std::string::npos);
  CHECK(report.find("c.toml: the file is larger than 1 MB; ") != std::string::npos);
}

TEST_CASE("which file") {
  unsetenv("PENNYPOST_CONFIG");
  CHECK(common::config::config_path("") == "/etc/pennypost/pennypost.toml");
  setenv("PENNYPOST_CONFIG", "/srv/p.toml", 1);
  CHECK(common::config::config_path("") == "/srv/p.toml");
  CHECK(common::config::config_path("x.toml") == fs::current_path() / "x.toml");
  unsetenv("PENNYPOST_CONFIG");
}

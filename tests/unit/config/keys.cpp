#include "common/config/keys.hpp"

#include <doctest/doctest.h>

#include <set>

#include "common/config/document.hpp"
#include "common/config/read.hpp"
#include "common/config/values.hpp"
#include "samples.hpp"

using namespace common::config;

TEST_CASE("the table of keys does not contradict itself") {
  for (const File file : {File::suite, File::server}) {
    std::set<std::string_view> names;
    std::set<std::string_view> tables;
    std::string_view table;
    for (const Key& key : keys(file)) {
      CAPTURE(key.name);
      CHECK(names.insert(key.name).second);
      const auto in = key.name.substr(0, key.name.contains('.') ? key.name.find('.') : 0);
      if (in != table) CHECK(tables.insert(in).second);  // the keys of a table stand together
      table = in;
      CHECK(key.scope != nowhere);
      CHECK(key.doc.ends_with('.'));
      CHECK(key.least <= key.most);
      CHECK((key.type == Type::choice || key.type == Type::choices) <= !key.choices.empty());
      const bool slot = key.suite != nullptr || key.server != nullptr;
      CHECK((slot || key.ready == nowhere));
      for (const Scope scope : {mx, submission, lmtp, pop3}) {
        if ((key.scope & scope) == 0 || key.defaults.empty()) continue;
        const auto document = parse_document("value = " + default_text(key, scope, "a\"b", "host.test"));
        REQUIRE(document);
        Suite suite;
        Server server;
        const Slot place = file == File::suite ? slot_of(key, suite) : slot_of(key, server);
        CHECK(read_value(key, document->front().node, place).empty());
      }
    }
  }
}

TEST_CASE("the key that was meant") {
  struct Row {
    const char* asked;
    const char* want;
  };
  const Row rows[] = {
      {"lisen", "listen"},
      {"hostnme", "hostname"},
      {"tls.cert", ""},
      {"tls.certficate", "tls.certificate"},
      {"certificate", "tls.certificate"},
      {"message.size", "messages.size"},
      {"tls.size", "messages.size"},
      {"auth.mechanism", "auth.mechanisms"},
      {"xyzzy", ""},
      {"", ""},
  };
  for (const auto& row : rows) {
    CAPTURE(row.asked);
    CHECK(nearest_key(File::server, every, row.asked) == row.want);
  }
  CHECK(nearest_key(File::server, pop3, "messages.siz") != "messages.size");
  CHECK(nearest_key(File::server, every, std::string(100000, 'x')).empty());
}

TEST_CASE("every key is in the manual's table") {
  const auto text = format_key_table();
  for (const File file : {File::suite, File::server}) {
    for (const Key& key : keys(file)) {
      CAPTURE(key.name);
      const auto leaf = key.name.substr(key.name.rfind('.') + 1);
      CHECK(text.find(".It Cm " + std::string{leaf} + "\n") != std::string::npos);
      CHECK(text.find(key.doc) != std::string::npos);
    }
  }
  CHECK(text.find("Time, 0 or 1s to 365d; default \"10m\" for kind pop3, \"5m\" otherwise.") != std::string::npos);
}

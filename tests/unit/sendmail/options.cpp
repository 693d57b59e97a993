#include "tools/sendmail/options.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace tools::sendmail;

namespace {

using Words = std::vector<std::string>;

Options parsed(const Words& words, const char* name = "pennypost-sendmail") {
  auto options = parse_options(name, words);
  if (!options) FAIL(options.error().why);
  return *options;
}

}  // namespace

TEST_CASE("the command lines that programs use") {
  struct {
    Words words;
    Words recipients;
    bool dot_ends, from_header;
    std::string sender, why;
  } const rows[] = {
      {{"-i", "-FCronDaemon", "-B8BITMIME", "-oem", "root"}, {"root"}, false, false, "-", "cron of Debian"},
      {{"-oem", "-oi", "-f", "a@b", "--", "-x@c", "d@e"}, {"-x@c", "d@e"}, false, false, "a@b", "mutt"},
      {{"-f", "a@b", "-i", "c@d", "e@f"}, {"c@d", "e@f"}, false, false, "a@b", "git send-email"},
      {{"-t", "-oi"}, {}, false, true, "-", "PHP and many scripts"},
      {{"-fa@b", "-t"}, {}, true, true, "a@b", "an argument in the same word"},
      {{"-it", "-r", "a@b"}, {}, false, true, "a@b", "letters together; -r of old"},
      {{"c@d", "-i"}, {"c@d"}, false, false, "-", "an option behind a recipient"},
      {{"-bm", "-f", "", "c@d"}, {"c@d"}, true, false, "", "the null reverse-path"},
      {{"-f<>", "c@d"}, {"c@d"}, true, false, "<>", "the same"},
      {{"-oeq", "-odb", "-om", "-o7", "-O", "QueueDirectory=/x", "-h", "5", "-Ltag", "-v", "-m", "-n", "-G", "-U", "-X",
        "/dev/null", "-pESMTP", "-em", "c@d"},
       {"c@d"},
       true,
       false,
       "-",
       "what means nothing here"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    const auto options = parsed(row.words);
    CHECK(options.mode == Mode::send);
    CHECK(options.recipients == row.recipients);
    CHECK(options.dot_ends == row.dot_ends);
    CHECK(options.from_header == row.from_header);
    CHECK(options.sender.value_or("-") == row.sender);
  }
  const auto cron = parsed({"-i", "-FCronDaemon", "-B8BITMIME", "-oem", "root"});
  CHECK(cron.full_name == "CronDaemon");
  CHECK(cron.eight_bit);
  CHECK_FALSE(parsed({"-B", "7bit", "x"}).eight_bit);
}

TEST_CASE("what else the program is called for") {
  CHECK(parsed({"-bs"}).mode == Mode::talk);
  CHECK(parsed({"-bp"}).mode == Mode::list_queue);
  CHECK(parsed({}, "/usr/bin/mailq").mode == Mode::list_queue);
  CHECK(parsed({"-bi"}).mode == Mode::nothing);
  CHECK(parsed({}, "newaliases").mode == Mode::nothing);
  CHECK(parsed({"-q"}).mode == Mode::flush_queue);
  CHECK(parsed({"-q"}).domain.empty());
  CHECK(parsed({"-qRexample.org"}).domain == "example.org");
  CHECK(parsed({"-qR@example.org"}).domain == "example.org");
  CHECK(parsed({"-t", "--help", "--nonsense"}).mode == Mode::help);
  CHECK(parsed({"--version"}).mode == Mode::version);
  CHECK(parsed({"-C/etc/x", "a"}).config == "/etc/x");
  CHECK(parsed({"-c", "/etc/x", "a"}).config == "/etc/x");
  CHECK(parsed({"--config", "/etc/x", "a"}).config == "/etc/x");
  CHECK(parsed({"--config=/etc/x", "a"}).config == "/etc/x");
  for (const auto option : {"-f", "--version", "-q", "-bs"}) CHECK(usage().contains(option));
}

TEST_CASE("DSN parameters") {
  CHECK(parsed({"-N", "success,Delay", "x"}).notify == "SUCCESS,DELAY");
  CHECK(parsed({"-Nnever", "x"}).notify == "NEVER");
  CHECK(parsed({"-R", "hdrs", "x"}).return_content == "HDRS");
  CHECK(parsed({"-V", "order=7 + 1", "x"}).envelope_id == "order=7 + 1");
}

TEST_CASE("what nobody knows is a wrong command line") {
  const Words rows[] = {
      {"-z"},         {"-tz"},           {"--frobnicate"},
      {"-bd"},        {"-bD"},           {"-bt"},
      {"-f"},         {"-i", "-F"},      {"-q30m"},
      {"-qIabc"},     {"-qR"},           {"-B9BIT"},
      {"-N", "soon"}, {"-Nnever,delay"}, {"-Ndelay,delay"},
      {"-N", ""},     {"-R", "some"},    {"-V", ""},
      {"-V", "a\nb"}, {"--config"},      {"-V", std::string(101, 'x')},
  };
  for (const auto& words : rows) {
    CAPTURE(words.front());
    const auto options = parse_options("sendmail", words);
    REQUIRE_FALSE(options);
    CHECK(options.error().status == Status::usage);
    CHECK_FALSE(options.error().why.empty());
  }
}

#pragma once

#include <cstddef>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>

#include "common/dns/record.hpp"
#include "common/dns/settings.hpp"

struct ub_ctx;

namespace common::dns {

struct Question {
  std::string name;
  Type type{};
};
using Raw = Result<std::string>;  ///< the records' data in wire form

/// libunbound with one set of settings: its cache, and a thread of its own that asks the network. The only place that
/// includes unbound.h. One thread calls it. Destroyed with questions out, it never answers them.
class Context {
 public:
  using Done = std::move_only_function<void(Raw)>;

  /// Reads no file and starts no thread; the first question does. Error: a sentence.
  static std::expected<std::unique_ptr<Context>, std::string> make(Settings settings);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  /// `done` is called once: by `process`, sooner or later (libunbound gives up by itself), or at once when the question
  /// cannot be put.
  void ask(const Question& question, Done done);
  /// Questions that `process` will answer.
  std::size_t asking() const { return flights_.size(); }
  /// Readable when `process` has something to do.
  int descriptor() const;
  void process();
  const Settings& settings() const { return settings_; }

 private:
  struct Flight;
  explicit Context(Settings settings) : settings_(std::move(settings)) {}
  std::expected<void, std::string> set_up();

  Settings settings_;
  struct Delete {
    void operator()(ub_ctx* context) const;
  };
  // The context goes first: what flies is what it was given.
  std::unordered_set<Flight*> flights_;
  std::unique_ptr<ub_ctx, Delete> context_;
};

/// What [dns] hosts says; nullopt: nothing. A name that stands there has these addresses and nothing else.
std::optional<Raw> find_fixed(const Settings& settings, const Question& question);

}  // namespace common::dns

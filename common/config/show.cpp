#include "common/config/config.hpp"
#include "common/config/read.hpp"
#include "common/config/values.hpp"

namespace common::config {
namespace {

/// Every key that belongs to `scope` and, unless `defaults`, differs from `standard` or has no default.
template <typename Owner>
std::string show(File file, Scope scope, Owner shown, Owner standard, bool defaults) {
  std::string text;
  std::string_view table;
  for (const Key& key : keys(file)) {
    if ((key.scope & scope) == 0) continue;
    const std::string value = format_value(key, slot_of(key, shown));
    const bool differs = key.defaults.empty() || value != format_value(key, slot_of(key, standard));
    if (!differs && !defaults) continue;
    const auto dot = key.name.find('.');
    const std::string_view in = dot == std::string_view::npos ? "" : key.name.substr(0, dot);
    const std::string gap = text.empty() ? "" : "\n";
    if (in.empty() && key.type == Type::lists) {
      // A table itself. It holds nothing as long as no part of Config has it.
      text += gap + "[" + std::string{key.name} + "]\n";
      table = key.name;
      continue;
    }
    if (in != table) text += gap + "[" + std::string{in} + "]\n";
    table = in;
    text += std::string{in.empty() ? key.name : key.name.substr(dot + 1)} + " = " + value + "\n";
  }
  return text;
}

}  // namespace

std::string show_suite(const Config& config, bool defaults) {
  return show(File::suite, every, config.suite, default_suite(), defaults);
}

std::string show_server(const Server& server, bool defaults) {
  const Scope scope = scope_of(server.kind, server.role);
  return show(File::server, scope, server, default_server(scope, server.id), defaults);
}

}  // namespace common::config

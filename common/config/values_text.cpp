#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "common/config/values.hpp"

namespace common::config {
namespace {

std::string list_of(std::span<const std::string> items) {
  std::string text = "[";
  for (const auto& item : items) text += (text.size() == 1 ? "" : ", ") + format_string(item);
  return text + "]";
}

/// One overload for each kind of slot.
struct Formatter {
  const Key& key;
  std::string operator()(std::monostate) const { return std::string{key.defaults.front().text}; }
  std::string operator()(const bool* value) const { return *value ? "true" : "false"; }
  std::string operator()(const std::int64_t* value) const { return std::to_string(*value); }
  std::string operator()(const Octets* value) const { return '"' + format_size(*value) + '"'; }
  std::string operator()(const Duration* value) const { return '"' + format_time(*value) + '"'; }
  std::string operator()(const std::optional<Duration>* value) const {
    return *value ? '"' + format_time(**value) + '"' : std::string{"\"never\""};
  }
  std::string operator()(const std::string* value) const { return format_string(*value); }
  std::string operator()(const std::filesystem::path* value) const { return format_string(value->native()); }
  std::string operator()(const LogLevel* value) const { return chosen(std::to_underlying(*value)); }
  std::string operator()(const Kind* value) const { return chosen(std::to_underlying(*value)); }
  std::string operator()(const Role* value) const { return chosen(std::to_underlying(*value)); }
  std::string operator()(const std::vector<std::string>* value) const { return list_of(*value); }
  std::string operator()(const std::vector<Duration>* value) const {
    std::vector<std::string> items;
    std::ranges::transform(*value, std::back_inserter(items), format_time);
    return list_of(items);
  }
  std::string operator()(const Hosts* value) const {
    std::string text = "{";
    for (const auto& [name, addresses] : *value) {
      text += (text.size() == 1 ? " " : ", ") + format_string(name) + " = " + list_of(addresses);
    }
    return text + (value->empty() ? "}" : " }");
  }
  std::string operator()(const Routes* value) const {
    std::string text = "{";
    for (const auto& [name, host] : *value) {
      text += (text.size() == 1 ? " " : ", ") + format_string(name) + " = " + format_string(host);
    }
    return text + (value->empty() ? "}" : " }");
  }
  std::string operator()(const std::vector<Sni>* value) const {
    std::string text = "[";
    for (const Sni& sni : *value) {
      text += fmt::format("{}{{ name = {}, certificate = {}, key = {} }}", text.size() == 1 ? "" : ", ",
                          format_string(sni.name), format_string(sni.certificate), format_string(sni.key));
    }
    return text + "]";
  }
  std::string operator()(const std::vector<Listen>* value) const {
    std::vector<std::string> items;
    std::ranges::transform(*value, std::back_inserter(items), &Listen::text);
    return list_of(items);
  }
  std::string chosen(std::size_t index) const { return format_string(key.choices.at(index)); }
};

}  // namespace

std::string format_value(const Key& key, const Slot& slot) {
  return std::visit(Formatter{key}, slot);
}

}  // namespace common::config

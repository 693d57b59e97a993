#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

/// What the tool prints: for people aligned and calm, for programs JSON. Lists are streamed in both forms; nothing that
/// a peer sent reaches a terminal unescaped.
namespace tools {

enum class Format : std::uint8_t { text, json };

/// A size for people ("4.0 KB"), a number of octets in JSON.
struct Octets {
  std::uint64_t value = 0;
};
/// Microseconds since the Unix epoch; RFC 3339 in UTC.
struct Time {
  std::uint64_t micros = 0;
};
/// "42%" for people, a number in JSON.
struct Percent {
  std::uint64_t value = 0;
};
/// monostate: nothing there; null in JSON.
using Cell =
    std::variant<std::monostate, std::string, std::uint64_t, bool, Octets, Percent, Time, std::vector<std::string>>;

struct Column {
  std::string_view key;    ///< in JSON
  std::string_view title;  ///< for people; empty: in JSON alone
  std::size_t widest = 0;  ///< characters after which text for people is cut; 0: never
};

/// Rows of one kind: an array of objects, or a table whose columns are as wide as what has been seen of them.
class List {
 public:
  /// `nothing`: said on a terminal in place of an empty table.
  List(Format format, std::vector<Column> columns, std::string_view nothing);
  /// One cell for each column.
  void row(std::vector<Cell> cells);
  /// Ends the list. A list that never ends was interrupted, and its JSON is not whole.
  void end();

 private:
  void print_page();
  Format format_;
  std::vector<Column> columns_;
  std::string_view nothing_;
  std::vector<std::vector<Cell>> page_;  ///< held until their widths are known; bounded
  std::vector<std::size_t> widths_;
  std::uint64_t rows_ = 0;
  bool titled_ = false;
};

/// One thing with its properties: an object, or a line for each.
class Record {
 public:
  explicit Record(Format format) : format_(format) {}
  void field(std::string_view key, std::string_view title, Cell value);
  /// JSON alone: `json` is put in as it is.
  void json_field(std::string_view key, std::string json);
  /// Prints it, with a line end.
  void print() const;
  /// The object as JSON text.
  std::string json() const;

 private:
  struct Field {
    std::string_view key, title;
    Cell value;
    std::string json;
  };
  Format format_;
  std::vector<Field> fields_;
};

/// Says in one line what a changing command did.
class Report {
 public:
  explicit Report(Format format) : format_(format) {}
  /// JSON: {"changed": ..., "action": ..., "<kind>": name}; people read `sentence`.
  void operator()(bool changed, std::string_view action, std::string_view kind, std::string_view name,
                  std::string_view sentence) const;

 private:
  Format format_;
};

/// Text made safe for a terminal as common::escape does, but with quotes, backslashes and tabs as they are.
std::string shown(std::string_view text);
/// A JSON string in ASCII; octets that are not UTF-8 become U+FFFD.
std::string json_text(std::string_view text);
/// An array of JSON strings.
std::string json_text(const std::vector<std::string>& texts);
std::string format_time(std::uint64_t micros);
std::string format_octets(std::uint64_t octets);
/// "1 message", "2 messages".
std::string counted(std::uint64_t number, std::string_view noun);

/// To standard output; a failure is remembered for `finish_output`.
void print(std::string_view text);
/// One escaped line "pennypost: ..." to standard error.
void complain(std::string_view text);
/// Flushes; false when something that was printed could not be written.
bool finish_output();

}  // namespace tools

#include "common/address_list.hpp"

#include <algorithm>
#include <utility>

namespace common {
namespace {

using Addresses = std::vector<Address>;
using Parsed = std::expected<void, std::string>;

/// Comments in comments, so deep and no deeper.
constexpr int comment_limit = 50;

std::unexpected<std::string> wrong(std::string what) {
  return std::unexpected(std::move(what));
}

/// One word or sign of a field, without the white space and comments around it.
struct Token {
  enum class Kind { word, quoted, literal, sign, end } kind = Kind::end;
  std::string_view text;  ///< as written, quotes and brackets included
};

class Lexer {
 public:
  explicit Lexer(std::string_view text) : rest_(text) {}

  std::expected<Token, std::string> next() {
    if (auto skipped = skip_blanks(); !skipped) return std::unexpected(std::move(skipped.error()));
    if (rest_.empty()) return Token{};
    constexpr std::string_view signs = "<>,;:@.";
    const char c = rest_.front();
    if (c == '"') return take_to('"', Token::Kind::quoted, "a quote is never closed");
    if (c == '[') return take_to(']', Token::Kind::literal, "a bracket is never closed");
    if (signs.contains(c)) return take(1, Token::Kind::sign);
    if (c == ')' || c == ']' || c == '\\') return wrong(std::string{"a stray "} + c);
    std::size_t size = 0;
    // RFC 5322 3.2.3 atext, RFC 6532; what is neither blank nor a sign.
    while (size < rest_.size() && !is_blank(rest_[size]) && !specials.contains(rest_[size])) {
      const auto octet = static_cast<unsigned char>(rest_[size]);
      if (octet < 0x20 || octet == 0x7F) return wrong("a control character");
      ++size;
    }
    return take(size, Token::Kind::word);
  }

 private:
  static constexpr std::string_view specials = "()<>[]:;@\\,.\"";
  static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

  Token take(std::size_t size, Token::Kind kind) {
    const Token token{kind, rest_.substr(0, size)};
    rest_.remove_prefix(size);
    return token;
  }
  std::expected<Token, std::string> take_to(char last, Token::Kind kind, const char* unclosed) {
    for (std::size_t i = 1; i < rest_.size(); ++i) {
      if (rest_[i] == '\\')
        ++i;
      else if (rest_[i] == last)
        return take(i + 1, kind);
    }
    return wrong(unclosed);
  }
  Parsed skip_blanks() {
    int depth = 0;
    for (std::size_t i = 0; i < rest_.size(); ++i) {
      const char c = rest_[i];
      if (c == '(') {
        if (++depth > comment_limit) return wrong("comments too deep in each other");
      } else if (depth == 0 && !is_blank(c)) {
        rest_.remove_prefix(i);
        return {};
      } else if (depth > 0 && c == '\\') {
        ++i;
      } else if (depth > 0 && c == ')') {
        --depth;
      }
    }
    if (depth > 0) return wrong("a comment is never closed");
    rest_ = {};
    return {};
  }

  std::string_view rest_;
};

/// Takes one list apart. The words before a sign say what they are only once it has come: a display name, the name of a
/// group, or an address.
class List {
 public:
  explicit List(std::string_view text) : lexer_(text) {}

  std::expected<Addresses, std::string> parse() {
    for (;;) {
      auto token = lexer_.next();
      if (!token) return std::unexpected(std::move(token.error()));
      const bool end = token->kind == Token::Kind::end;
      const char sign = token->kind == Token::Kind::sign ? token->text.front() : '\0';
      Parsed fine;
      if (end || sign == ',' || sign == ';') {
        fine = end_mailbox();
        if (fine && sign == ';') fine = end_group();
      } else if (sign == '<') {
        fine = take_angle();
      } else if (sign == ':') {
        fine = begin_group();
      } else if (sign == '>') {
        fine = wrong("a stray >");
      } else if (behind_angle_) {
        fine = wrong("text behind an address in angle brackets");
      } else {
        words_.push_back(*token);
      }
      if (!fine) return std::unexpected(std::move(fine.error()));
      if (!end) continue;
      if (in_group_) return wrong("a group that does not end in a semicolon");
      return std::move(found_);
    }
  }

 private:
  Parsed end_mailbox() {
    behind_angle_ = false;
    if (words_.empty()) return {};  // behind <...>, or RFC 5322 4.4: nothing between two commas
    auto words = std::exchange(words_, {});
    return add(words);
  }
  Parsed begin_group() {
    if (in_group_) return wrong("a group inside a group");
    const bool address = std::ranges::any_of(words_, [](const Token& token) { return token.text == "@"; });
    if (words_.empty() || behind_angle_ || address) return wrong("a stray :");
    words_.clear();
    in_group_ = true;
    return {};
  }
  Parsed end_group() {
    if (!in_group_) return wrong("a semicolon where no group began");
    in_group_ = false;
    return {};
  }

  /// Behind "<". The words before it were a display name, which may be anything.
  Parsed take_angle() {
    if (behind_angle_) return wrong("an address in angle brackets behind another");
    words_.clear();
    std::vector<Token> inner;
    for (;;) {
      auto token = lexer_.next();
      if (!token) return std::unexpected(std::move(token.error()));
      if (token->kind == Token::Kind::end) return wrong("an angle bracket is never closed");
      const char sign = token->kind == Token::Kind::sign ? token->text.front() : '\0';
      if (sign == '>') break;
      if (sign == '<' || sign == ';') return wrong(std::string{"a stray "} + sign);
      inner.push_back(*token);
      // RFC 5322 4.4: "<@one,@two:address>"; the way is ours to find.
      if (sign == ':') {
        if (inner.front().text != "@") return wrong("a stray :");
        inner.clear();
      }
    }
    behind_angle_ = true;
    return add(inner);
  }

  /// Words and dots side by side make an address; comments and blanks between them (RFC 5322 4.4) fall away.
  Parsed add(const std::vector<Token>& tokens) {
    std::string text;
    bool word_before = false;
    for (const auto& token : tokens) {
      const bool word = token.kind != Token::Kind::sign;
      if (word && word_before) return wrong("words that are no address: \"" + joined(tokens) + "\"");
      text += token.text;
      word_before = word;
    }
    auto address = parse_address(text);
    if (!address) return wrong("\"" + joined(tokens) + "\": " + address.error());
    found_.push_back(std::move(*address));
    return {};
  }
  static std::string joined(const std::vector<Token>& tokens) {
    std::string text;
    for (const auto& token : tokens) {
      const bool word = token.kind != Token::Kind::sign;
      if (word && !text.empty() && text.back() != '@' && text.back() != '.') text += ' ';
      text += token.text;
    }
    return text;
  }

  Lexer lexer_;
  Addresses found_;
  std::vector<Token> words_;
  bool in_group_ = false;
  bool behind_angle_ = false;
};

}  // namespace

std::expected<Addresses, std::string> parse_address_list(std::string_view text) {
  return List{text}.parse();
}

}  // namespace common

#include <string>

#include <doctest/doctest.h>

#include "common/auth/sasl.hpp"

using common::auth::decode_base64;
using common::auth::encode_base64;

TEST_CASE("base64: the examples of RFC 4648 10, both ways") {
  struct Row {
    std::string_view octets, text;
  };
  for (const auto& [octets, text] : {Row{"", ""}, Row{"f", "Zg=="}, Row{"fo", "Zm8="}, Row{"foo", "Zm9v"},
                                     Row{"foob", "Zm9vYg=="}, Row{"fooba", "Zm9vYmE="}, Row{"foobar", "Zm9vYmFy"}}) {
    CAPTURE(text);
    CHECK(encode_base64(octets) == text);
    CHECK(decode_base64(text) == octets);
  }
}

TEST_CASE("base64: what is not exactly base64 is refused") {
  struct Row {
    std::string_view text, why;
  };
  for (const auto& [text, why] :
       {Row{"Zg", "padding missing"}, Row{"Zg=", "padding short"}, Row{"Zg===", "padding long"},
        Row{"=", "padding only"}, Row{"====", "padding only"}, Row{"Z===", "one digit is no octet"},
        Row{"Zg==Zg==", "padding in the middle"}, Row{" Zg=", "white space"}, Row{"Zm9v\n", "line end"},
        Row{"Zm9-", "URL alphabet"}, Row{"Zh==", "bits left over"}, Row{"Zm9=", "bits left over"},
        Row{"Zm\xc3\xa4", "8-bit"}, Row{"Z=9v", "padding inside a group"}}) {
    CAPTURE(why);
    CHECK_FALSE(decode_base64(text).has_value());
  }
}

TEST_CASE("base64: every octet survives") {
  std::string all;
  for (int i = 0; i < 256; ++i) {
    all += static_cast<char>(i);
    CHECK(decode_base64(encode_base64(all)) == all);
  }
}

// The JSON parser: its limits, what it preserves, and Python's names for numbers.
#include "ram/json.h"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <new>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ram/error.h"
#include "ram/json_tree.h"

#include "support/sanitizers.h"

namespace ram {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr JsonLimits kPython = {.non_finite = true};

void expect_refused(const std::string& text, const std::string& says,
                    const JsonLimits& limits = {}) {
  try {
    parse_json(text, "a.json", limits);
    ADD_FAILURE() << "was read: " << text.substr(0, 60);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kCorrupt);
    EXPECT_THAT(error.what(), HasSubstr(says));
    EXPECT_THAT(error.what(), HasSubstr("a.json"));
  }
}

std::string repeated(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

TEST(ParseJson, ReadsWhatTheLibraryReads) {
  for (const char* text : {"null", "true", "-0", "18446744073709551615", "1e3", "\"\\u00e9\\\"\"",
                           R"({"a": [1, 2.5, {"b": null}], "c": "NaN, \"Infinity", "a": [] })",
                           " [[], {}, \"\", [[[]]]]\n"}) {
    EXPECT_EQ(parse_json(text, "a.json"), Json::parse(text)) << text;
    EXPECT_EQ(parse_json(text, "a.json", kPython), Json::parse(text)) << text;
  }
}

#if !RAM_SANITIZED && defined(__linux__)

// The tree is large when a small allocation fails: destroying it must not allocate.
void parse_with_little_memory() {
  const std::string text = "[" + repeated("{\"a\":[1]},", 4'000'000) + "1]";
  std::ifstream statm("/proc/self/statm");
  rlim_t pages = 0;
  statm >> pages;
  const rlim_t most = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + (rlim_t{64} << 20);
  const rlimit limit = {.rlim_cur = most, .rlim_max = most};
  setrlimit(RLIMIT_AS, &limit);
  try {
    parse_json(text, "a.json");
  } catch (const std::bad_alloc&) {
    std::_Exit(3);
  }
  std::_Exit(0);
}

TEST(ParseJson, EndsWithoutMemoryAsAnyOtherCall) {
  EXPECT_EXIT(parse_with_little_memory(), ::testing::ExitedWithCode(3), "");
}

// With no memory left at all: the list's own destructor would allocate, and end the program.
void end_a_tree_without_memory() {
  {
    JsonTree tree(parse_json("[" + repeated("[1],", 1'000'000) + "1]", "a.json"));
    JsonTree moved = std::move(tree);
    JsonTree assigned((Json()));
    assigned = std::move(moved);
    const rlimit limit = {.rlim_cur = 1, .rlim_max = 1};
    setrlimit(RLIMIT_AS, &limit);
  }
  std::_Exit(3);
}

TEST(JsonTree, EndsWithoutMemory) {
  EXPECT_EXIT(end_a_tree_without_memory(), ::testing::ExitedWithCode(3), "");
}

#endif

TEST(JsonTree, IsTakenApartWholly) {
  Json tree = parse_json(R"({"a": [1, {"b": ["c", []]}], "d": "e"})", "a.json");
  clear_json(tree);
  EXPECT_EQ(tree, Json::object());
  Json text = "a";
  clear_json(text);
  EXPECT_EQ(text, "a");
}

TEST(ParseJson, NamesTheByteOfWhatIsWrong) {
  for (const JsonLimits& limits : {JsonLimits{}, kPython}) {
    expect_refused("", "not valid JSON at byte", limits);
    expect_refused("[1, }", "not valid JSON at byte 5 ", limits);
    expect_refused("{\"a\": 1} x", "not valid JSON at byte 10 ", limits);
    expect_refused("\"\xff\"", "not valid JSON at byte 2 ", limits);
    expect_refused("{NaN: 1}", "not valid JSON", limits);
    expect_refused("[nullNaN]", "not valid JSON", limits);
    expect_refused("[1Infinity]", "not valid JSON", limits);
    expect_refused("[+Infinity]", "not valid JSON", limits);
    expect_refused("[nan, inf]", "not valid JSON", limits);
    expect_refused("[\"NaN", "not valid JSON", limits);
    expect_refused("\"\\", "not valid JSON", limits);
    expect_refused("[1e99e9]", "not valid JSON", limits);
  }
  const std::string zero(1, '\0');
  std::string within = "{\"a\": 1}\n";
  within += zero;
  within += " {}";
  for (const JsonLimits& limits : {JsonLimits{}, kPython}) {
    expect_refused("{}" + zero, "not valid JSON at byte 3", limits);
    expect_refused(within, "not valid JSON at byte 10", limits);
    expect_refused({"[1\0]", 4}, "not valid JSON at byte 3", limits);
    expect_refused({"\"\0\"", 3}, "not valid JSON at byte 2", limits);
    expect_refused(zero, "not valid JSON at byte 1", limits);
  }
  expect_refused("[NaN]", "not valid JSON at byte 2 ");
  expect_refused("[1, 1e999]", "a number out of range");
  // The position is in the original text, whatever was replaced before it.
  expect_refused("[NaN, -Infinity, 1e9999, }", "not valid JSON at byte 26 ", kPython);
  expect_refused("[}, NaN]", "not valid JSON at byte 2 ", kPython);
}

TEST(ParseJson, PythonsWordsForNumbersAreNumbers) {
  const Json json = parse_json(
      R"({"a": NaN, "b": [null, Infinity, "NaN null", -Infinity], "c": null, "d": [1e999, -2.5E+400, 1e-999, 1e30]})",
      "a.json", kPython);
  EXPECT_TRUE(std::isnan(json["a"].get<double>()));
  EXPECT_TRUE(json["b"][0].is_null());
  EXPECT_EQ(json["b"][1].get<double>(), HUGE_VAL);
  EXPECT_EQ(json["b"][2], "NaN null");
  EXPECT_EQ(json["b"][3].get<double>(), -HUGE_VAL);
  EXPECT_TRUE(json["c"].is_null());
  EXPECT_EQ(json["d"][0].get<double>(), HUGE_VAL);
  EXPECT_EQ(json["d"][1].get<double>(), -HUGE_VAL);
  EXPECT_EQ(json["d"][2].get<double>(), 0);
  EXPECT_EQ(json["d"][3].get<double>(), 1e30);
  EXPECT_TRUE(std::isnan(parse_json("NaN", "a.json", kPython).get<double>()));
}

TEST(ParseJson, IntegersBeyond64BitsKeepTheirDigits) {
  const Json json = parse_json("[99999999999999999999]", "a.json");
  ASSERT_TRUE(json[0].is_binary());
  EXPECT_FALSE(json[0].is_number());
  const auto& digits = json[0].get_binary();
  EXPECT_EQ(std::string(digits.begin(), digits.end()), "99999999999999999999");
}

TEST(JsonShown, IsOneShortLineOfWholeCharacters) {
  EXPECT_EQ(json_shown(parse_json(R"({"a": [1, "b\nc"]})", "a.json")), R"({"a":[1,"b\nc"]})");
  EXPECT_EQ(json_shown(parse_json("99999999999999999999", "a.json")), "99999999999999999999");
  EXPECT_EQ(json_shown(Json(repeated("\u00e9", 40))), "\"" + repeated("\u00e9", 29) + "...");
}

TEST(ParseJson, DepthIsBoundedAndCounted) {
  const auto nested = [](int depth) { return repeated("[", depth) + repeated("]", depth); };
  EXPECT_NO_THROW(parse_json(nested(64), "a.json"));
  expect_refused(nested(65), "JSON nested deeper than 64 levels");
  // Depth, not the number of brackets.
  EXPECT_NO_THROW(parse_json("[" + repeated("[[]],", 1000) + "{}]", "a.json"));
  for (const JsonLimits& limits : {JsonLimits{}, kPython}) {
    expect_refused(repeated("[", 1'000'000), "nested deeper than 64", limits);
    expect_refused(repeated("{\"a\":", 1'000'000), "nested deeper than 64", limits);
    expect_refused(repeated("[{\"a\":", 1'000'000), "nested deeper than 64", limits);
  }
  EXPECT_NO_THROW(parse_json(nested(3), "a.json", {.depth = 3}));
  expect_refused(nested(4), "nested deeper than 3", {.depth = 3});
  EXPECT_NO_THROW(parse_json("[\"" + repeated("[", 1000) + "\\\"[[[\"]", "a.json"));
}

TEST(ParseJson, SizeIsBounded) {
  EXPECT_NO_THROW(parse_json("[1, 2]", "a.json", {.bytes = 6}));
  expect_refused("[1, 2]", "6 bytes of JSON, expected at most 5", {.bytes = 5});
  // Small texts can be large trees: a list in three bytes.
  EXPECT_NO_THROW(parse_json("[[], 1, {\"a\": true}]", "a.json", {.values = 6}));
  expect_refused("[[], 1, {\"a\": true}]", "more than 5 values", {.values = 5});
}

}  // namespace
}  // namespace ram

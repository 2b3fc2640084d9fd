// A tokenizer.json that needs more than any real one is rejected, with the limit, before it has
// taken much memory or time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"
#include "ram/json.h"
#include "ram/tokenizer.h"

#include "growth.h"

namespace ram {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;

Json plain() {
  return Json::parse(R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}})");
}

Json sequence(const char* list, const Json& step, size_t count) {
  return {{"type", "Sequence"}, {list, Json(count, step)}};
}

Json replace(const char* what, const std::string& by) {
  return {{"type", "Replace"}, {"pattern", {{"String", what}}}, {"content", by}};
}

const Json kByteLevel = {{"type", "ByteLevel"},
                         {"add_prefix_space", false},
                         {"trim_offsets", true},
                         {"use_regex", false}};

/// The error message of `act`; fails the test if nothing is thrown.
template <typename Act>
std::string refusal(const Act& act) {
  try {
    act();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kUnsupported) << error.what();
    EXPECT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos);
    EXPECT_LT(std::string_view(error.what()).size(), 400U);
    return error.what();
  }
  ADD_FAILURE() << "was accepted";
  return "";
}

Tokenizer parse(const Json& json) {
  return Tokenizer::parse(json.dump(), "t.json");
}

TEST(TokenizerLimits, StepsOfAPipelineAreCounted) {
  const Json strip = {{"type", "Strip"}, {"strip_left", true}, {"strip_right", false}};
  const Json split = {{"type", "WhitespaceSplit"}};
  const Json fuse = {{"type", "Fuse"}};
  for (const auto& [part, list, step] : {std::tuple{"normalizer", "normalizers", strip},
                                         std::tuple{"pre_tokenizer", "pretokenizers", split},
                                         std::tuple{"decoder", "decoders", fuse}}) {
    SCOPED_TRACE(part);
    Json json = plain();
    json[part] = sequence(list, step, kMostSteps);
    const Tokenizer most = parse(json);
    EXPECT_EQ(most.decode(most.encode("ab", Specials::kAdd), false),
              part == std::string("decoder") ? "ab" : "a b");
    for (const size_t count : {kMostSteps + 1, size_t{10000}}) {
      json[part] = sequence(list, step, count);
      EXPECT_THAT(refusal([&] { parse(json); }), HasSubstr("256"));
    }
    // Nested sequences count as the same steps.
    json[part] = sequence(list, sequence(list, step, 2), kMostSteps / 2 + 1);
    EXPECT_THAT(refusal([&] { parse(json); }), HasSubstr("256"));
  }
}

TEST(TokenizerLimits, WhatStepsMakeOfATextIsBounded) {
  const std::string longer(std::size_t{1} << 20, 'a');
  const Json regex = {{"type", "Replace"}, {"pattern", {{"Regex", "(?=.)"}}}, {"content", longer}};
  const Json prepend = {{"type", "Prepend"}, {"prepend", std::string(2000, 'a')}};
  const Json spaced = {{"type", "ByteLevel"},
                       {"add_prefix_space", true},
                       {"trim_offsets", true},
                       {"use_regex", true}};
  const Json metaspace = {{"type", "Metaspace"},
                          {"replacement", "\xF0\x9F\x98\x80"},
                          {"prepend_scheme", "always"},
                          {"split", false}};
  for (const auto& [part, value] : std::initializer_list<std::pair<const char*, Json>>{
           {"normalizer", sequence("normalizers", replace("a", std::string(10, 'a')), 12)},
           {"normalizer", sequence("normalizers", replace("a", "aa"), 200)},
           {"normalizer", replace("", longer)},
           {"normalizer", regex},
           {"normalizer", sequence("normalizers", prepend, 200)},
           {"normalizer", sequence("normalizers", {{"type", "ByteLevel"}}, 60)},
           {"pre_tokenizer", sequence("pretokenizers", kByteLevel, 60)},
           {"pre_tokenizer", sequence("pretokenizers", spaced, 60)},
           {"pre_tokenizer", sequence("pretokenizers", Json::array({kByteLevel, metaspace}), 1)},
       }) {
    SCOPED_TRACE(value.dump().substr(0, 200));
    Json json = plain();
    Json steps = value;
    if (steps.contains("pretokenizers") && steps["pretokenizers"][0].is_array()) {
      const Json pair = steps["pretokenizers"][0];
      steps["pretokenizers"] = Json::array();
      for (int i = 0; i < 60; ++i)
        steps["pretokenizers"].insert(steps["pretokenizers"].end(), pair.begin(), pair.end());
    }
    json[part] = steps;
    const Tokenizer mine = parse(json);
    for (const std::string& text :
         {std::string("a b\xC3\xA9 banana"), std::string(5000, 'a') + " \xC3\xA9"}) {
      EXPECT_THAT(refusal([&] { mine.encode(text, Specials::kNone); }), HasSubstr("at most"));
    }
  }
}

TEST(TokenizerLimits, WhatStepsMakeOfAddedTokensIsBounded) {
  Json json = plain();
  json["normalizer"] = sequence("normalizers", replace("a", std::string(10, 'a')), 12);
  json["added_tokens"] = Json::array();
  for (int i = 0; i < 3; ++i) {
    json["added_tokens"].push_back({{"id", 2 + i},
                                    {"content", "<a" + std::to_string(i)},
                                    {"single_word", false},
                                    {"lstrip", false},
                                    {"rstrip", false},
                                    {"normalized", true},
                                    {"special", false}});
  }
  EXPECT_THAT(refusal([&] { parse(json); }), HasSubstr("at most"));
}

TEST(TokenizerLimits, AShortAddedTokenDoesNotBuyALongPrefixAgainAndAgain) {
  Json json = plain();
  json["normalizer"] = {{"type", "Prepend"}, {"prepend", std::string(60000, 'a')}};
  json["added_tokens"] = Json::array({{{"id", 2},
                                       {"content", "|"},
                                       {"single_word", false},
                                       {"lstrip", false},
                                       {"rstrip", false},
                                       {"normalized", false},
                                       {"special", false}}});
  const Tokenizer mine = parse(json);
  EXPECT_EQ(mine.encode("b", Specials::kNone).size(), 60001U);
  std::string text;
  while (text.size() < 10000) text += "b|";
  EXPECT_THAT(refusal([&] { mine.encode(text, Specials::kNone); }), HasSubstr("in all"));
}

TEST(TokenizerLimits, WhatStepsMakeOfTokensIsBounded) {
  for (const Json& value : {sequence("decoders", replace("a", std::string(10, 'a')), 12),
                            sequence("decoders", replace("a", "aa"), 200),
                            replace("", std::string(size_t{1} << 21, 'x')),
                            sequence("decoders", {{"type", "BPEDecoder"}, {"suffix", "a"}}, 1)}) {
    SCOPED_TRACE(value.dump().substr(0, 200));
    Json json = plain();
    json["decoder"] = value;
    const Tokenizer mine = parse(json);
    const std::vector<TokenId> ids(5, 0);
    if (value["type"] == "Sequence" && value["decoders"].size() == 1) {
      EXPECT_EQ(mine.decode(ids, false), "    ");
      continue;
    }
    EXPECT_THAT(refusal([&] { mine.decode(ids, false); }), HasSubstr("at most"));
    TextStream stream(mine, false);
    EXPECT_THAT(refusal([&] { stream.push(0); }), HasSubstr("at most"));
  }
  // A token of a megabyte, again and again.
  Json json = plain();
  json["model"]["vocab"][std::string(size_t{1} << 20, 'x')] = 2;
  EXPECT_THAT(refusal([&] { parse(json).decode(std::vector<TokenId>(1000, 2), false); }),
              HasSubstr("at most"));
}

TEST(TokenizerLimits, IdsAroundATextAreBounded) {
  Json json = plain();
  const auto around = [&](size_t pieces, size_t ids) {
    json["post_processor"] = {
        {"type", "TemplateProcessing"},
        {"single", Json(pieces, {{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}})},
        {"pair", Json::array()},
        {"special_tokens",
         {{"<s>", {{"id", "<s>"}, {"ids", Json(ids, 1)}, {"tokens", Json(ids, "<s>")}}}}}};
    json["post_processor"]["single"].push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  };
  around(4, 256);
  EXPECT_EQ(parse(json).encode("a", Specials::kAdd).size(), 1025U);
  around(4, 257);
  EXPECT_THAT(refusal([&] { parse(json); }), HasSubstr("1024"));
  around(20000, 10000);
  EXPECT_THAT(refusal([&] { parse(json); }), HasSubstr("1024"));
}

TEST(TokenizerLimits, RealGrowthIsAllowed) {
  // The character that grows most: 3 bytes become 33 by NFKD, and those become 66 by ByteLevel.
  Json json = plain();
  json["normalizer"] = {{"type", "NFKD"}};
  json["pre_tokenizer"] = kByteLevel;
  std::string text;
  while (text.size() < 300000) text += "\xEF\xB7\xBA";
  EXPECT_NO_THROW(parse(json).encode(text, Specials::kNone));
  json["decoder"] = {{"type", "ByteLevel"}};
  json["model"]["vocab"][std::string(512, 'x')] = 2;
  EXPECT_EQ(parse(json).decode(std::vector<TokenId>(10000, 2), false).size(), 5120000U);
}

TEST(TokenizerLimits, APatternThatBacktracksEndsSoon) {
  Json json = plain();
  json["pre_tokenizer"] = {{"type", "Split"},
                           {"pattern", {{"Regex", "(a+)+$"}}},
                           {"behavior", "Isolated"},
                           {"invert", false}};
  const Tokenizer mine = parse(json);
  EXPECT_EQ(mine.encode("aaab", Specials::kNone).size(), 4U);
  EXPECT_THAT(refusal([&] { mine.encode(std::string(200, 'a') + "b", Specials::kNone); }),
              HasSubstr("backtracks"));
}

}  // namespace
}  // namespace ram

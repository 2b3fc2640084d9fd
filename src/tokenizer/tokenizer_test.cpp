// From text to ids and back, against the results of `tokenizers` for the same texts
// (tests/vectors/tokenizer), and properties that hold for any tokenizer.
#include "ram/tokenizer.h"

#include <filesystem>
#include <map>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/json.h"
#include "ram/utf8.h"

#include "support/corrupt_inputs.h"
#include "support/temp_folder.h"

namespace ram {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::filesystem::path kRoot = RAM_SOURCE_DIR;
const std::filesystem::path kVectors = kRoot / "tests" / "vectors" / "tokenizer";
const std::filesystem::path kDemo = kRoot / "models" / "demo";

nlohmann::json vectors(const std::string& kind) {
  return nlohmann::json::parse(read_text_file(kVectors / (kind + ".json"), int64_t{1} << 20));
}

Tokenizer tokenizer(const std::string& kind) {
  return Tokenizer::parse(vectors(kind)["tokenizer"].get<std::string>(), kind);
}

std::vector<std::string> kinds() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kVectors)) {
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  }
  return names;
}

std::string streamed(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  TextStream stream(tokenizer, false);
  std::string text;
  for (const TokenId id : ids) text += stream.push(id);
  return text + stream.finish();
}

TEST(Tokenizer, GivesTheIdsAndTextsThatHuggingFaceGives) {
  int compared = 0;
  for (const std::string& kind : kinds()) {
    SCOPED_TRACE(kind);
    const nlohmann::json document = vectors(kind);
    const Tokenizer mine = Tokenizer::parse(document["tokenizer"].get<std::string>(), kind);
    for (const nlohmann::json& one : document["cases"]) {
      const std::string text = one["text"];
      SCOPED_TRACE(text);
      const std::vector<TokenId> special = one["special"];
      EXPECT_EQ(mine.encode(text, Specials::kNone), one["ids"].get<std::vector<TokenId>>());
      EXPECT_EQ(mine.encode(text, Specials::kAdd), special);
      EXPECT_EQ(mine.decode(special, false), one["decoded"].get<std::string>());
      EXPECT_EQ(mine.decode(special, true), one["plain"].get<std::string>());
      ++compared;
    }
  }
  EXPECT_GT(compared, 900);
}

TEST(Tokenizer, StreamedTextIsTheDecodedTextAndNeverHalfACharacter) {
  for (const std::string& kind : kinds()) {
    SCOPED_TRACE(kind);
    const nlohmann::json document = vectors(kind);
    const Tokenizer mine = Tokenizer::parse(document["tokenizer"].get<std::string>(), kind);
    const bool has_decoder = kind.find("bert") == std::string::npos && kind != "whitespace" &&
                             kind != "prefix" && kind != "suffix";
    if (!has_decoder) continue;  // joined by spaces: nothing can be shown before the next token
    for (const nlohmann::json& one : document["cases"]) {
      const std::vector<TokenId> ids = one["special"];
      const std::string whole = mine.decode(ids, false);
      EXPECT_EQ(streamed(mine, ids), whole);
      if (whole.find("\xEF\xBF\xBD") != std::string::npos) continue;
      TextStream stream(mine, false);
      for (const TokenId id : ids)
        EXPECT_THAT(stream.push(id), ::testing::Not(HasSubstr("\xEF\xBF\xBD")));
    }
  }
}

TEST(Tokenizer, ByteLevelTextComesBackAsItWas) {
  // The model's own byte tokens: all 256, so that nothing is lost.
  const Tokenizer mine = Tokenizer::open(kDemo);
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::string bytes;
    for (int i = 0; i < 60; ++i)
      bytes += static_cast<char>(random() % (round % 2 == 0 ? 256 : 128));
    EXPECT_EQ(mine.decode(mine.encode(bytes, Specials::kNone), false),
              replace_ill_formed_utf8(bytes));
  }
}

TEST(Tokenizer, KnowsWhatTheTemplateAdds) {
  const Tokenizer llama = tokenizer("llama2");
  EXPECT_THAT(llama.prefix_ids(), ElementsAre(llama.id_of("<s>").value()));
  EXPECT_TRUE(llama.suffix_ids().empty());
  const Tokenizer both = tokenizer("strip");
  EXPECT_THAT(both.prefix_ids(), ElementsAre(both.id_of("<s>").value()));
  EXPECT_THAT(both.suffix_ids(), ElementsAre(both.id_of("</s>").value()));
  const Tokenizer none = tokenizer("gpt2");
  EXPECT_TRUE(none.prefix_ids().empty() && none.suffix_ids().empty());
  EXPECT_EQ(none.encode("a", Specials::kAdd), none.encode("a", Specials::kNone));
}

TEST(Tokenizer, EveryIdHasATokenAndItsTokenHasTheId) {
  for (const std::string& kind : kinds()) {
    const Tokenizer mine = tokenizer(kind);
    EXPECT_EQ(mine.vocabulary_size(), mine.id_end()) << kind;
    for (TokenId id = 0; id < mine.id_end(); ++id) {
      EXPECT_EQ(mine.id_of(mine.token_of(id).value()), id) << kind;
    }
    EXPECT_FALSE(mine.token_of(mine.id_end()) || mine.token_of(-1));
    EXPECT_TRUE(mine.is_special(mine.id_of("<mask>").value()));
    EXPECT_FALSE(mine.is_special(mine.id_of("WORD").value()));
    EXPECT_EQ(mine.decode(std::vector<TokenId>{mine.id_end(), -7}, false), "");
  }
}

TEST(Tokenizer, AMillionCharactersInOneLineTakeNoLongerThanTheirShare) {
  // Quadratic work would take hours, and recursion as deep as the line would crash the test.
  const Tokenizer demo = Tokenizer::open(kDemo);
  const Tokenizer o200k = tokenizer("o200k");
  const Tokenizer llama = tokenizer("llama2");
  for (const std::string unit : {"a", " ", "\n", "the ", "\xE7\x8B\x90", "7", "-", "\xCC\x81"}) {
    SCOPED_TRACE(unit);
    std::string text;
    while (text.size() < (unit == "a" || unit == " " ? 1000000 : 30000)) text += unit;
    // Not EXPECT_EQ, which would compute the difference of two such texts.
    EXPECT_TRUE(demo.decode(demo.encode(text, Specials::kNone), false) == text);
    EXPECT_LE(llama.encode(text, Specials::kNone).size(), text.size() + 2);
    EXPECT_LE(o200k.encode(text, Specials::kNone).size(), text.size());
  }
}

/// The rule as specified, without any optimization.
std::vector<std::string> merged(std::vector<std::string> symbols, const nlohmann::json& merges) {
  std::map<std::pair<std::string, std::string>, size_t> ranks;
  for (const nlohmann::json& merge : merges) ranks.try_emplace({merge[0], merge[1]}, ranks.size());
  while (true) {
    size_t best = ranks.size();
    size_t at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = ranks.find({symbols[i], symbols[i + 1]});
      if (found == ranks.end() || found->second >= best) continue;
      best = found->second;
      at = i;
    }
    if (best == ranks.size()) return symbols;
    symbols[at] += symbols[at + 1];
    symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(at) + 1);
  }
}

TEST(Tokenizer, PiecesOfAnyLengthAreMergedByTheRule) {
  // No pre-tokenizer splits the text: few symbols, many symbols in a heap, splits between words
  // that no token spans, and cached words must all give the result of the rule.
  const nlohmann::json document =
      nlohmann::json::parse(vectors("llama2")["tokenizer"].get<std::string>());
  const Tokenizer mine = tokenizer("llama2");
  std::mt19937 random(2);
  for (const size_t length : {1, 2, 7, 47, 48, 49, 50, 300}) {
    for (int spaces = 0; spaces < 3; ++spaces) {
      std::string text;
      std::vector<std::string> symbols = {"\xE2\x96\x81"};
      for (size_t i = 0; i < length; ++i) {
        const char c =
            "etaoinshr   "[random() % (spaces == 0 ? 9U : 9U + static_cast<unsigned>(spaces))];
        text += c;
        symbols.push_back(c == ' ' ? "\xE2\x96\x81" : std::string(1, c));
      }
      std::vector<TokenId> expected;
      for (const std::string& token : merged(symbols, document["model"]["merges"])) {
        expected.push_back(mine.id_of(token).value());
      }
      EXPECT_EQ(mine.encode(text, Specials::kNone), expected) << text;
    }
  }
}

TEST(Tokenizer, SeveralThreadsGetWhatOneGets) {
  const Tokenizer mine = tokenizer("qwen");
  std::vector<std::string> texts;
  const nlohmann::json document = vectors("qwen");
  for (const nlohmann::json& one : document["cases"]) texts.push_back(one["text"]);
  const auto all = [&] {
    std::vector<std::vector<TokenId>> ids;
    ids.reserve(texts.size());
    for (const std::string& text : texts) ids.push_back(mine.encode(text, Specials::kAdd));
    return ids;
  };
  const auto expected = all();
  std::vector<std::vector<std::vector<TokenId>>> found(4);
  std::vector<std::thread> threads;
  threads.reserve(found.size());
  for (auto& one : found) threads.emplace_back([&one, &all] { one = all(); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& one : found) EXPECT_EQ(one, expected);
}

TEST(Tokenizer, WhatIsNotHandledIsNamedWithWhatIs) {
  const auto message = [](const std::string& text, Code code) -> std::string {
    try {
      Tokenizer::parse(text, "t.json");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      return error.what();
    }
    ADD_FAILURE() << text;
    return "";
  };
  const std::string model = R"("model":{"type":"BPE","vocab":{"a":0},"merges":[]})";
  EXPECT_THAT(message(R"({"model":{"type":"Unigram","vocab":[]}})", Code::kUnsupported),
              AllOf(HasSubstr("Unigram"), HasSubstr("BPE"), HasSubstr("t.json")));
  EXPECT_THAT(message(R"({"model":{"type":"WordPiece","vocab":{}}})", Code::kUnsupported),
              HasSubstr("WordPiece"));
  EXPECT_THAT(message("{" + model + R"(,"normalizer":{"type":"Precompiled"}})", Code::kUnsupported),
              AllOf(HasSubstr("Precompiled"), HasSubstr("NFKC")));
  EXPECT_THAT(message("{" + model + R"(,"pre_tokenizer":{"type":"X"}})", Code::kUnsupported),
              AllOf(HasSubstr("pre_tokenizer X"), HasSubstr("Metaspace")));
  EXPECT_THAT(message("{" + model + R"(,"decoder":{"type":"CTC"}})", Code::kUnsupported),
              HasSubstr("CTC"));
  EXPECT_THAT(
      message(R"({"model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}})", Code::kCorrupt),
      HasSubstr("token b is not in the vocabulary"));
}

TEST(Tokenizer, AFolderWithoutTokenizerJsonIsMissing) {
  const testing::TempFolder folder;
  try {
    Tokenizer::open(folder.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kMissing);
    EXPECT_THAT(error.what(), HasSubstr("tokenizer.json"));
  }
}

TEST(Tokenizer, KeptCorruptInputsAreRefused) {
  testing::replay_corrupt_inputs("tokenizer", [](const std::string& input) {
    const Tokenizer mine = Tokenizer::parse(input, "tokenizer.json");
    mine.decode(mine.encode("a b \xF0\x9F\x98\x80 <s>\n", Specials::kAdd), false);
  });
}

}  // namespace
}  // namespace ram

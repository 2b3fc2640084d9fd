// Each component alone, against what it does in `tokenizers` (tests/vectors/tokenizer/components).
#include <filesystem>

#include <gtest/gtest.h>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/tokenizer.h"

#include "decoder.h"
#include "normalizer.h"
#include "post_processor.h"
#include "pre_tokenizer.h"

namespace ram {
namespace {

const Json& component_vectors() {
  static const Json kVectors =
      Json::parse(read_text_file(std::filesystem::path(RAM_SOURCE_DIR) / "tests" / "vectors" /
                                     "tokenizer" / "components" / "components.json",
                                 int64_t{16} << 20));
  return kVectors;
}

TEST(Components, NormalizersWriteWhatTheirsDo) {
  for (const Json& kind : component_vectors()["normalizer"]) {
    SCOPED_TRACE(kind["json"].dump());
    const Normalizer mine = Normalizer::parse(Node(kind["json"], "t.json"));
    for (const Json& one : kind["cases"]) {
      std::string text = one[0];
      MatchScratch scratch(Growth::of_text(text.size()));
      bool at_start = true;
      mine.apply(text, scratch, at_start);
      EXPECT_EQ(text, one[1].get<std::string>()) << one[0];
    }
  }
}

TEST(Components, PreTokenizersCutWhereTheirsDo) {
  for (const Json& kind : component_vectors()["pre_tokenizer"]) {
    SCOPED_TRACE(kind["json"].dump());
    const PreTokenizer mine = PreTokenizer::parse(Node(kind["json"], "t.json"));
    for (const Json& one : kind["cases"]) {
      const std::string text = one[0];
      MatchScratch scratch(Growth::of_text(text.size()));
      std::vector<std::string> pieces;
      mine.pieces(text, true, scratch, [&](std::string_view piece) { pieces.emplace_back(piece); });
      std::vector<std::string> expected = one[1];
      std::erase(expected, "");  // they produce no ids
      EXPECT_EQ(pieces, expected) << one[0];
    }
  }
}

TEST(Components, DecodersWriteWhatTheirsDo) {
  for (const Json& kind : component_vectors()["decoder"]) {
    SCOPED_TRACE(kind["json"].dump());
    const TokenDecoder mine = TokenDecoder::parse(Node(kind["json"], "t.json"));
    for (const Json& one : kind["cases"]) {
      EXPECT_EQ(mine.text(one[0].get<std::vector<std::string>>()), one[1].get<std::string>())
          << one[0];
    }
  }
}

TEST(Components, PostProcessorsAddTheIdsThatTheirsAdd) {
  for (const Json& kind : component_vectors()["post_processor"]) {
    SCOPED_TRACE(kind["json"].dump());
    const Surroundings mine = parse_post_processor(Node(kind["json"], "t.json"));
    EXPECT_EQ(mine.prefix, kind["prefix"].get<std::vector<TokenId>>());
    EXPECT_EQ(mine.suffix, kind["suffix"].get<std::vector<TokenId>>());
  }
}

TEST(Components, ModelsAndAddedTokensGiveTheIdsThatTheirsGive) {
  int refused = 0;
  for (const Json& kind : component_vectors()["tokenizer"]) {
    const auto json = kind["json"].get<std::string>();
    SCOPED_TRACE(json.substr(0, 2000));
    const Tokenizer mine = Tokenizer::parse(json, "t.json");
    for (const Json& one : kind["cases"]) {
      const std::string text = one[0];
      if (!one[1].is_null()) {
        EXPECT_EQ(mine.encode(text, Specials::kNone), one[1].get<std::vector<TokenId>>()) << text;
        continue;
      }
      ++refused;
      try {
        mine.encode(text, Specials::kNone);
        ADD_FAILURE() << text;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), Code::kCorrupt);
        EXPECT_NE(std::string_view(error.what()).find("<absent>"), std::string_view::npos);
      }
    }
  }
  EXPECT_GT(refused, 10);
}

}  // namespace
}  // namespace ram

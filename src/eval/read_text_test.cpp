// Which parts of a file are read as text, which are skipped, and which files are rejected.
#include <fstream>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"
#include "ram/eval.h"
#include "ram/hash.h"

#include "support/error_of.h"
#include "support/temp_folder.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ReadTextTest : public ::testing::Test {
 protected:
  fs::path write(const std::string& content, const std::string& name = "text.txt") {
    fs::path path = folder_ / name;
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  testing::TempFolder folder_;
};

TEST_F(ReadTextTest, AFileIsReadWholeWithItsDigest) {
  const Text text = read_text(write("abc"));
  EXPECT_EQ(text.content, "abc");
  EXPECT_EQ(text.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_F(ReadTextTest, TextThatIsNotUtf8IsCorruptAndTheByteNamed) {
  const struct {
    const char* content;
    const char* byte;
  } cases[] = {{"ab\xff", "byte 2 "},
               {"\xc3", "byte 0 "},
               {"x\xed\xa0\x80", "byte 1 "},
               {"\xc0\xaf", "byte 0 "},
               {"caf\xc3\xa9 \xe2\x82", "byte 6 "},
               {"\xf4\x90\x80\x80", "byte 0 "},
               {"\xf0\x8f\xbf\xbf", "byte 0 "},
               {"\xe0\x9f\xbf", "byte 0 "}};
  for (const auto& [content, byte] : cases) {
    const Error error = error_of([&] { read_text(write(content)); });
    EXPECT_EQ(error.code(), Code::kCorrupt) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(byte));
  }
  EXPECT_NO_THROW(read_text(write("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xf4\x8f\xbf\xbf")));
}

TEST_F(ReadTextTest, EmptyMissingAndHugeTextsAreRefused) {
  EXPECT_EQ(error_of([&] { read_text(write("")); }).code(), Code::kCorrupt);
  EXPECT_EQ(error_of([&] { read_text(write(" \n\n")); }).code(), Code::kCorrupt);
  EXPECT_EQ(error_of([&] { read_text(folder_ / "none"); }).code(), Code::kMissing);
  const fs::path huge = write("x");
  fs::resize_file(huge, 5'000'000'000U);  // sparse
  const Error error = error_of([&] { read_text(huge); });
  EXPECT_EQ(error.code(), Code::kUnsupported);
  EXPECT_THAT(error.what(), HasSubstr("5.000 GB"));
}

TEST_F(ReadTextTest, LinesEndInOneWayWhateverTheFileHas) {
  const std::string lf = " = A b = \n\n One two .\n\xe2\x82\xac Three\n";
  const Text wanted = read_text(write(lf));
  EXPECT_THAT(wanted.notes, IsEmpty());
  const auto with = [&](const std::function<std::string(size_t)>& end) {
    std::string text;
    for (size_t i = 0; i < lf.size(); ++i) {
      text += lf[i] == '\n' ? end(i) : std::string(1, lf[i]);
    }
    return text;
  };
  const std::string crlf = with([](size_t) { return "\r\n"; });
  const std::string cr = with([](size_t) { return "\r"; });
  const std::string mixed = with([](size_t i) { return i % 2 == 0 ? "\r\n" : "\n"; });
  for (const std::string& content : {crlf, cr, mixed, "\xef\xbb\xbf" + crlf}) {
    const Text found = read_text(write(content));
    EXPECT_EQ(found.content, lf);
    EXPECT_EQ(found.sha256, wanted.sha256) << "the same text: the same rows in the study";
    EXPECT_THAT(found.notes.back(), HasSubstr("carriage returns"));
  }
  // Each carriage return counts, as with Python's universal newlines.
  EXPECT_EQ(read_text(write("a\r\r\nb\n\rc\r")).content, "a\n\nb\n\nc\n");
  EXPECT_EQ(error_of([&] { read_text(write("\r\n\r\r\n")); }).code(), Code::kCorrupt);
}

TEST_F(ReadTextTest, AByteOrderMarkIsNoTextAndOneElsewhereIs) {
  const Text found = read_text(write("\xef\xbb\xbf = A = \n"));
  EXPECT_EQ(found.content, " = A = \n");
  EXPECT_THAT(found.notes, ElementsAre(HasSubstr("byte order mark")));
  EXPECT_EQ(read_text(write("a\xef\xbb\xbf")).content, "a\xef\xbb\xbf");
  EXPECT_EQ(error_of([&] { read_text(write("\xef\xbb\xbf")); }).code(), Code::kCorrupt);
  // Positions in messages are those in the file.
  EXPECT_THAT(error_of([&] {
                read_text(
                    write("\xef\xbb\xbf"
                          "a\xff"));
              }).what(),
              HasSubstr("byte 4 "));
}

TEST_F(ReadTextTest, OfJsonLinesTheTextIsTaken) {
  const Text found = read_text(write(R"({"id": 1, "text": "One \"a\".\nTwo"}
{"meta": {"text": "not this"}, "text": "caf\u00e9"}

{"list": [{"text": "nor this"}], "text": " ", "n": -1e999, "m": NaN, "k": [Infinity, -Infinity]}
{"text": "last", "after": [[[{}]]]})",
                                     "a.JSONL"));
  EXPECT_EQ(found.content, "One \"a\".\nTwo\n\ncaf\xc3\xa9\n\nlast");
  EXPECT_EQ(read_text(write(R"({"n\"1": 5, "text": "-7 NaN \\", "I": "x"})", "n.jsonl")).content,
            "-7 NaN \\")
      << "numbers in strings are text";
  EXPECT_THAT(found.notes, ElementsAre(HasSubstr("of its 4 documents")));
  EXPECT_EQ(found.sha256, sha256_text(found.content));
  EXPECT_THAT(read_text(write("{\"text\": \"a\\r\\nb\"}\r\n", "b.ndjson")).content, "a\nb");
  // The same lines in a .txt file are text: code, for instance.
  EXPECT_THAT(read_text(write(R"({"text": "a"})", "c.txt")).content, HasSubstr("{"));
}

TEST_F(ReadTextTest, ALineWithoutATextIsNamed) {
  const struct {
    const char* line;
    const char* says;
  } cases[] = {{R"({"content": "x", "url": ""})", "content, url"},
               {R"({"text": 5})", "field \"text\""},
               {R"({"text": ["a"]})", "field \"text\""},
               {R"({"text": {"text": "a"}})", "field \"text\""},
               {R"({"text": null})", "field \"text\""},
               {"{}", "field \"text\""},
               {R"("text")", ".jsonl file has an object"},
               {R"(["text", "a"])", ".jsonl file has an object"},
               {R"([{"text": "a"}])", ".jsonl file has an object"},
               {R"({"text": "a"} x)", ".jsonl file has an object"},
               {R"({"text": "a)", ".jsonl file has an object"},
               {R"({"text": "\ud800"})", ".jsonl file has an object"},
               {"plain", ".jsonl file has an object"}};
  for (const auto& [line, says] : cases) {
    const fs::path path = write(std::string("{\"text\": \"a\"}\n") + line + "\n", "a.jsonl");
    const Error error = error_of([&] { read_text(path); });
    EXPECT_EQ(error.code(), Code::kCorrupt) << line;
    EXPECT_THAT(error.what(), HasSubstr("line 2")) << line;
    EXPECT_THAT(error.what(), HasSubstr(says)) << line;
  }
}

TEST_F(ReadTextTest, DeepJsonIsRefusedWithoutFillingTheStack) {
  const std::string deep(2'000'000, '[');
  const std::string closed(2'000'000, ']');
  for (const std::string& rest : {std::string(), closed + "}"}) {
    std::string line = R"({"text": "b", "a": )";
    line += deep;
    line += rest;
    const fs::path path = write(line, "a.jsonl");
    const Error error = error_of([&] { read_text(path); });
    EXPECT_EQ(error.code(), Code::kCorrupt);
    EXPECT_THAT(error.what(), HasSubstr("line 1"));
    EXPECT_LT(std::string(error.what()).size(), 1000U);
  }
}

TEST_F(ReadTextTest, WhatIsNoTextIsRefusedWithAWayOut) {
  const struct {
    std::string name;
    std::string content;
    const char* says;
  } cases[] = {{"a.txt.gz", std::string("\x1f\x8b\x08\0", 4), "gunzip"},
               {"named.txt", std::string("\x1f\x8b\x08\0", 4), "gunzip"},
               {"a.parquet", "PAR1....PAR1", "Parquet"},
               {"a.arrow", std::string("ARROW1\0\0", 8), "Arrow"},
               {"a.zst", "\x28\xb5\x2f\xfd....", "unzstd"},
               {"a.xz", std::string("\xfd\x37zXZ\0", 6), "unxz"},
               {"a.bz2", "BZh91AY&SY....", "bunzip2"},
               {"a.docx", "PK\x03\x04....", "zip"},
               {"a.pdf", "%PDF-1.7", "PDF"},
               {"a.txt",
                std::string("\xff\xfe"
                            "a\0",
                            4),
                "UTF-16"},
               {"b.txt", std::string("\xfe\xff\0a", 4), "UTF-16"},
               {"a.json", R"({"text": "a"})", "JSON"},
               {"A.JSON", R"([1])", "JSON"}};
  for (const auto& [name, content, says] : cases) {
    const Error error = error_of([&] { read_text(write(content, name)); });
    EXPECT_EQ(error.code(), Code::kUnsupported) << name << ": " << error.what();
    EXPECT_THAT(error.what(), HasSubstr(says)) << name;
    EXPECT_THAT(error.what(), HasSubstr(name));
  }
  // Text with a similar beginning is text.
  for (const char* content : {"PARIS", "PK", "BZh9", "%PD", "P"}) {
    EXPECT_EQ(read_text(write(content)).content, content);
  }
}

}  // namespace
}  // namespace ram

// Texts of unknown origin in the study: each reader accepts them or reports that the study is
// damaged.
#include "documents.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "ram/error.h"
#include "ram/file.h"

namespace ram {
namespace {

TEST(Documents, AnyTextIsReadOrRefusedInOneLine) {
  const auto folder = std::filesystem::path(RAM_SOURCE_DIR) / "tests" / "corrupt" / "study";
  int refused = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    SCOPED_TRACE(entry.path().filename().string());
    const StudyDocument document{
        .kind = "kind", .key = "key", .text = read_text_file(entry.path(), int64_t{1} << 20)};
    const auto check = [&](const auto& read) {
      try {
        (void)read(document, "ram.db");
      } catch (const Error& error) {
        ++refused;
        EXPECT_EQ(error.code(), Code::kCorrupt);
        EXPECT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos);
        EXPECT_LT(std::string_view(error.what()).size(), 600U);
      }
    };
    check(read_plan_document);
    check(read_record<NoiseRecord>);
    check(read_record<FeedbackRecord>);
    check(read_record<MeasuredSweepRecord>);
    check(read_record<SweepRecord>);
    check(read_record<CurvesRecord>);
  }
  EXPECT_GT(refused, 20);
}

}  // namespace
}  // namespace ram

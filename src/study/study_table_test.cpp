// Statements and transactions: values are read back as bound, a transaction is kept completely or
// not at all, and records which program wrote.
#include "ram/study_table.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "ram/error.h"

#include "support/temp_folder.h"

namespace ram {
namespace {

// Any table with a text and a number per row would do.
void put(Study::Transaction& transaction, const std::string& kind, const std::string& text) {
  Study::Statement(transaction, "INSERT INTO document (kind, key, text, run) VALUES (?, '', ?, ?)")
      .bind(kind, text, transaction.run())
      .run();
}

class StudyTable : public ::testing::Test {
 protected:
  testing::TempFolder folder_;
  Study study_{folder_ / "ram.db"};
};

TEST_F(StudyTable, AStatementGivesBackWhatWasBound) {
  constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
  const std::string text("a\0\xc3\xa9", 4);
  const std::vector<std::byte> bytes = {std::byte{0}, std::byte{255}};
  Study::Statement echo(study_, "SELECT ?, ?, ?, ?, ?, ?");
  for (const double real : {1.0 / 3, -0.0, std::numeric_limits<double>::denorm_min(),
                            std::numeric_limits<double>::infinity()}) {
    // In two calls, and again after the last row: parameters are bound in sequence.
    ASSERT_TRUE(echo.bind(kLeast, real, text).bind(bytes, "", std::vector<std::byte>()).step());
    EXPECT_EQ(echo.number(0), kLeast);
    EXPECT_EQ(echo.real(1), real);
    EXPECT_EQ(std::signbit(echo.real(1)), std::signbit(real));
    EXPECT_EQ(echo.text(2), text);
    const std::span<const std::byte> blob = echo.blob(3);
    EXPECT_TRUE(std::equal(blob.begin(), blob.end(), bytes.begin(), bytes.end()));
    EXPECT_EQ(echo.text(4), "");
    EXPECT_TRUE(echo.blob(5).empty());
    EXPECT_FALSE(echo.step());
  }
}

TEST_F(StudyTable, AStatementThatWasResetCanBeBoundAgain) {
  Study::Statement two(study_, "SELECT ? UNION ALL SELECT 2");
  ASSERT_TRUE(two.bind(int64_t{1}).step());
  two.reset();
  ASSERT_TRUE(two.bind(int64_t{3}).step());
  EXPECT_EQ(two.number(0), 3);
}

TEST_F(StudyTable, AStatementThatTheStudyCannotRunIsDamage) {
  try {
    const Study::Statement refused(study_, "SELECT x FROM no_such_table");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kCorrupt);
    EXPECT_NE(std::string(error.what()).find("no_such_table"), std::string::npos) << error.what();
  }
}

TEST_F(StudyTable, ATransactionWithoutCommitLeavesNothing) {
  {
    Study::Transaction transaction(study_);
    put(transaction, "a", "1");
    put(transaction, "b", "1");
  }
  EXPECT_TRUE(study_.documents("a").empty());
  EXPECT_TRUE(study_.runs().empty());
  {
    Study::Transaction transaction(study_);
    put(transaction, "a", "2");
    transaction.commit();
  }
  ASSERT_EQ(study_.documents("a").size(), 1U);
  EXPECT_EQ(study_.documents("a")[0].text, "2");
}

TEST_F(StudyTable, ARunIsWrittenOnceAndOnlyWhereItIsAskedFor) {
  {
    Study::Transaction transaction(study_);
    Study::Statement(transaction, "DELETE FROM document").run();
    transaction.commit();
  }
  EXPECT_TRUE(study_.runs().empty());
  study_.set_options("analyze");
  for (const char* kind : {"a", "b"}) {
    Study::Transaction transaction(study_);
    const int64_t run = transaction.run();
    EXPECT_EQ(transaction.run(), run);
    put(transaction, kind, "t");
    transaction.commit();
  }
  ASSERT_EQ(study_.runs().size(), 1U);
  EXPECT_EQ(study_.runs()[0].options, "analyze");
  EXPECT_GE(study_.runs()[0].last_write_ms, study_.runs()[0].started_ms);
  study_.set_options("plan");
  study_.put_document({.kind = "c", .key = "", .text = "t"});
  ASSERT_EQ(study_.runs().size(), 2U);
  EXPECT_EQ(study_.runs()[1].options, "plan");
}

TEST_F(StudyTable, ABlobIsLittleEndianWhateverTheMachine) {
  const std::vector<int32_t> ids = {1, -2};
  const std::vector<std::byte> bytes = {std::byte{1},   std::byte{0},   std::byte{0},
                                        std::byte{0},   std::byte{254}, std::byte{255},
                                        std::byte{255}, std::byte{255}};
  EXPECT_EQ(pack_blob<int32_t>(ids), bytes);
  EXPECT_EQ(unpack_blob<int32_t>(bytes), ids);
  const std::vector<double> reals = {-1.0 / 3, 1e-300};
  EXPECT_EQ(unpack_blob<double>(pack_blob<double>(reals)), reals);
  EXPECT_EQ(unpack_blob<int32_t>(std::span(bytes).first(7)), std::vector<int32_t>{1});
}

}  // namespace
}  // namespace ram

// The tables of finished folders: a record is found again, is replaced by one of the same plan, and
// is deleted with its model.
#include "ram/build_table.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "support/temp_folder.h"

namespace ram {
namespace {

class BuildTableTest : public ::testing::Test {
 protected:
  testing::TempFolder folder_;
  std::filesystem::path file_ = folder_ / "ram.db";
};

TEST_F(BuildTableTest, ARecordComesBackFromAReopenedStudyAndIsReplacedByItsPlan) {
  const BuildRecord first{
      .fingerprint = "f1", .plan_hash = "p", .file_hashes = {{"a", "1"}, {"b", "2"}}};
  {
    Study study(file_);
    BuildTable(study).put(first);
  }
  Study study(file_);
  BuildTable table(study);
  EXPECT_EQ(table.find("p"), first);
  const BuildRecord second{.fingerprint = "f1", .plan_hash = "p", .file_hashes = {{"c", "3"}}};
  table.put(second);
  EXPECT_EQ(table.find("p"), second);
  EXPECT_EQ(table.find("q"), std::nullopt);
}

TEST_F(BuildTableTest, RecordsOfAModelAreCountedAndRemoved) {
  Study study(file_);
  BuildTable table(study);
  for (const char* plan : {"p", "q"}) {
    table.put({.fingerprint = "f1", .plan_hash = plan, .file_hashes = {{"a", "1"}}});
  }
  table.put({.fingerprint = "f2", .plan_hash = "r", .file_hashes = {{"a", "1"}}});
  EXPECT_EQ(table.count("f1"), 2);
  Study::Transaction transaction(study);
  table.remove(transaction, "f1");
  transaction.commit();
  EXPECT_EQ(table.count("f1"), 0);
  EXPECT_EQ(table.count("f2"), 1);
  // Their files are deleted with them.
  Study::Statement files(study, "SELECT count(*) FROM build_file");
  ASSERT_TRUE(files.step());
  EXPECT_EQ(files.number(0), 1);
}

}  // namespace
}  // namespace ram

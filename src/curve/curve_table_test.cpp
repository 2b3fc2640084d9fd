// The tables of hashes, curves and models: what was stored is found again bit for bit, for exactly
// the same file or key.
#include "ram/curve_table.h"

#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ram/error.h"

#include "support/temp_folder.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

constexpr FileIdentity kIdentity{
    .size = 10, .mtime_ns = 20, .ctime_ns = 30, .inode = ~uint64_t{0}, .device = 50};

CurveKey key_of(int number) {
  return {.tensor_hash = fmt::format("{:032x}", number), .part = "rows 0+768 x 2048"};
}

PartCurve curve_of(int number) {
  PartCurve curve{.formats = 0x3ffff, .distortion = {}};
  curve.distortion.sum_squares = number + 1.0 / 3;
  for (size_t i = 0; i < kFormatCount; ++i) {
    curve.distortion.squared_error[i] = std::ldexp(1.0 / (3.0 + number), -static_cast<int>(i));
  }
  return curve;
}

bool same(const PartCurve& a, const PartCurve& b) {
  return a.formats == b.formats && a.distortion.sum_squares == b.distortion.sum_squares &&
         a.distortion.squared_error == b.distortion.squared_error;
}

std::vector<std::pair<CurveKey, PartCurve>> curves_of(int first, int count) {
  std::vector<std::pair<CurveKey, PartCurve>> curves;
  for (int i = first; i < first + count; ++i) curves.emplace_back(key_of(i), curve_of(i));
  return curves;
}

std::vector<CurveKey> keys_of(int first, int count) {
  std::vector<CurveKey> keys;
  for (int i = first; i < first + count; ++i) keys.push_back(key_of(i));
  return keys;
}

class CurveTableTest : public ::testing::Test {
 protected:
  testing::TempFolder folder_;
  fs::path path_ = folder_ / "ram.db";
};

TEST_F(CurveTableTest, CurvesComeBackBitForBitFromAReopenedStudy) {
  auto curves = curves_of(0, 50);
  curves[3].second.distortion.squared_error[7] = std::numeric_limits<double>::denorm_min();
  curves[4].second.distortion.squared_error[0] = std::numeric_limits<double>::max();
  curves[5].second.distortion.sum_squares = 0;
  curves[6].second.formats = 0;
  {
    Study study(path_);
    CurveTable(study).put("model.safetensors", kIdentity, {}, curves);
  }

  Study study(path_);
  CurveTable table(study);
  const auto found = table.curves(keys_of(0, 60));
  ASSERT_EQ(found.size(), 50U);
  for (const auto& [key, curve] : curves)
    EXPECT_TRUE(same(found.at(key), curve)) << key.tensor_hash;
}

TEST_F(CurveTableTest, EveryFieldOfAKeyCounts) {
  Study study(path_);
  CurveTable table(study);
  table.put("a", kIdentity, {}, curves_of(1, 1));
  std::vector<CurveKey> others(5, key_of(1));
  others[0].tensor_hash = key_of(2).tensor_hash;
  others[1].part = "rows 768+768 x 2048";
  others[2].source = DType::kF32;
  others[3].dtype = DType::kF16;
  others[4].encoder = Encoder::kSimulated;
  EXPECT_TRUE(table.curves(others).empty());
  EXPECT_EQ(table.curves(keys_of(1, 1)).size(), 1U);
}

TEST_F(CurveTableTest, HashesAnswerToExactlyTheIdentityTheyWereTakenFrom) {
  Study study(path_);
  CurveTable table(study);
  const std::vector<TensorRecord> tensors = {{"a", "11"}, {"b", "22"}};
  table.put("m.safetensors", kIdentity, tensors, {});
  EXPECT_EQ(table.tensor_hashes("m.safetensors", kIdentity),
            (std::map<std::string, std::string>{{"a", "11"}, {"b", "22"}}));
  std::vector<FileIdentity> others(5, kIdentity);
  others[0].size++;
  others[1].mtime_ns++;
  others[2].ctime_ns++;
  others[3].inode--;
  others[4].device++;
  for (const FileIdentity& other : others) {
    EXPECT_TRUE(table.tensor_hashes("m.safetensors", other).empty());
  }
  EXPECT_TRUE(table.tensor_hashes("n.safetensors", kIdentity).empty());
  EXPECT_EQ(table.stale_tensor_hashes("m.safetensors").size(), 2U);
  EXPECT_EQ(
      table.tensor_hashes(fs::current_path() / "x" / ".." / "m.safetensors", kIdentity).size(), 2U)
      << "one file, another spelling";
}

TEST_F(CurveTableTest, AChangedFilesOldHashesStayUntilTheNewOnesAreKnown) {
  Study study(path_);
  CurveTable table(study);
  const std::vector<TensorRecord> before = {{"a", "11"}, {"b", "22"}};
  table.put("m", kIdentity, before, {});
  FileIdentity changed = kIdentity;
  changed.mtime_ns++;
  const std::vector<TensorRecord> half = {{"a", "33"}};
  table.put("m", changed, half, {});
  EXPECT_EQ(table.stale_tensor_hashes("m"),
            (std::map<std::string, std::string>{{"a", "33"}, {"b", "22"}}));
  EXPECT_EQ(table.tensor_hashes("m", changed), (std::map<std::string, std::string>{{"a", "33"}}));
  const std::vector<TensorRecord> rest = {{"b", "44"}};
  table.put("m", changed, rest, {});
  EXPECT_TRUE(table.tensor_hashes("m", kIdentity).empty());
  EXPECT_EQ(table.stale_tensor_hashes("m").at("b"), "44");
}

TEST_F(CurveTableTest, ModelsAreReplacedByTheirKey) {
  Study study(path_);
  ModelTable models(study);
  ModelRecord model{.fingerprint = "f1", .name = "M", .model_type = "llama", .folder = "/m"};
  models.put(model);
  model.weights = int64_t{1} << 40;
  model.bytes = model.weights * 2;
  models.put(model);
  models.put({.fingerprint = "f0", .name = "A", .model_type = "", .folder = ""});
  ASSERT_EQ(models.all().size(), 2U);
  EXPECT_EQ(models.all()[0].name, "A");
  EXPECT_EQ(models.all()[1], model);
  EXPECT_EQ(models.folder_of("f1"), "/m");
  EXPECT_EQ(models.folder_of("f2"), "");
}

TEST_F(CurveTableTest, ADamagedRowIsCorrupt) {
  Study study(path_);
  CurveTable table(study);
  table.put("m", kIdentity, {}, curves_of(0, 1));
  for (const char* sql :
       {"UPDATE curve SET sums = x'00'", "UPDATE curve SET sums = zeroblob(152), formats = -1",
        "UPDATE curve SET formats = 262144"}) {
    Study::Transaction transaction(study);
    Study::Statement(transaction, sql).run();
    transaction.commit();
    try {
      table.curves(keys_of(0, 1));
      ADD_FAILURE() << sql;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kCorrupt) << sql;
    }
  }
}

TEST_F(CurveTableTest, PuttingNothingWritesNothing) {
  Study study(path_);
  CurveTable(study).put("m", kIdentity, {}, {});
  EXPECT_TRUE(study.runs().empty());
}

// A sums blob has the sum of squares first, then the formats in order: docs/formats/study.md.
TEST_F(CurveTableTest, SumsAreKeptAsDocumented) {
  Study study(path_);
  CurveTable(study).put("m", kIdentity, {}, curves_of(2, 1));
  Study::Statement find(study, "SELECT sums, formats, source, dtype, encoder FROM curve");
  ASSERT_TRUE(find.step());
  const std::vector<double> sums = unpack_blob<double>(find.blob(0));
  ASSERT_EQ(sums.size(), 19U);
  EXPECT_EQ(sums[0], curve_of(2).distortion.sum_squares);
  for (size_t i = 0; i < kFormatCount; ++i) {
    EXPECT_EQ(sums[1 + i], curve_of(2).distortion.squared_error[i]);
  }
  EXPECT_EQ(find.number(1), 0x3ffff);
  EXPECT_EQ(find.text(2) + find.text(3) + find.text(4), "BF16BF16mlx");
}

TEST_F(CurveTableTest, AFilesDigestHoldsForThatIdentityOnly) {
  Study study(path_);
  CurveTable table(study);
  FileHashTable hashes(study);
  hashes.put("m/model.safetensors", kIdentity, "h1");
  EXPECT_EQ(hashes.find("m/../m/model.safetensors", kIdentity), "h1");
  FileIdentity changed = kIdentity;
  changed.mtime_ns += 1;
  EXPECT_FALSE(hashes.find("m/model.safetensors", changed).has_value());
  hashes.put("m/model.safetensors", changed, "h2");
  EXPECT_EQ(hashes.find("m/model.safetensors", changed), "h2");
  EXPECT_FALSE(hashes.find("m/model.safetensors", kIdentity).has_value());
  // Tensors of the file do not remove its digest.
  const std::vector<TensorRecord> tensors = {{.tensor = "t", .hash = "h"}};
  table.put("m/model.safetensors", changed, tensors, {});
  EXPECT_EQ(hashes.find("m/model.safetensors", changed), "h2");
}

}  // namespace
}  // namespace ram

// One tensor in blocks: the hash as defined in docs/formats/study.md, every split into blocks, and
// shapes that no model has.
#include "tensor_job.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "ram/hash.h"

#include "test_support.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

std::string text_of(const std::vector<std::byte>& bytes, size_t first, size_t count) {
  return {reinterpret_cast<const char*>(bytes.data()) + first, count};
}

// quant adds short runs in float32: a different split into blocks gives different last digits.
constexpr double kOtherCut = 1e-8;

class TensorJobTest : public ::testing::Test {
 protected:
  /// A checkpoint of one tensor with Gaussian elements, and the unit made from it.
  const std::vector<std::byte>& write(DType dtype, const std::vector<int64_t>& shape, Unit unit) {
    const fs::path path = folder_ / "model.safetensors";
    const TensorSpec spec{.name = "t", .dtype = dtype, .shape = shape};
    bytes_.assign(static_cast<size_t>(spec.bytes()), std::byte{0});
    if (is_weight_dtype(dtype)) {
      const std::vector<float> values = testing::random_values(1, "t", spec.elements(), 0, 1);
      from_f32(values.data(), dtype, spec.elements(), bytes_.data());
    }
    const std::string header = render_safetensors_header(std::span(&spec, 1), {});
    write_file_atomic(path, header + text_of(bytes_, 0, bytes_.size()));
    checkpoint_ = std::make_unique<Checkpoint>();
    checkpoint_->files.emplace_back(path);
    checkpoint_->tensors.push_back(
        {.info = read_safetensors_header(path).tensors.at(0), .file = 0});
    unit.dtype = dtype;
    checkpoint_->units.push_back(std::move(unit));
    uses_ = tensor_uses(*checkpoint_);
    return bytes_;
  }

  /// All blocks in a random order.
  TensorResult run(RowReading least = RowReading::kWithChunks, bool measure = true) {
    TensorJob job(*checkpoint_, uses_.at(0), options_, measure, least);
    std::vector<int64_t> order(static_cast<size_t>(job.blocks()));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random_);
    BlockBuffer buffer;
    for (size_t i = 0; i < order.size(); ++i) {
      job.prefetch(order[i]);
      job.read(order[i], buffer, {});
      EXPECT_EQ(job.run(order[i], buffer), i + 1 == order.size());
    }
    return job.take_result();
  }

  testing::TempFolder folder_;
  std::vector<std::byte> bytes_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::vector<TensorUse> uses_;
  AnalyzeOptions options_;
  std::mt19937 random_{5};
};

Unit matrix(int64_t rows, int64_t cols) {
  Unit unit;
  unit.parts = {{.view = rows_view(0, cols)}};
  unit.rows = rows;
  unit.cols = cols;
  unit.quantizable = true;
  return unit;
}

TEST_F(TensorJobTest, TheHashIsThatOfTheChunksHashes) {
  const auto& bytes = write(DType::kBF16, {300, 2048}, matrix(300, 2048));
  ASSERT_EQ(bytes.size(), 1'228'800U);
  const size_t chunk = 1U << 20;
  const std::string expected = hash_text(hash_text(text_of(bytes, 0, chunk)) +
                                         hash_text(text_of(bytes, chunk, bytes.size() - chunk)));
  EXPECT_EQ(run().hash, expected);
  EXPECT_EQ(run(RowReading::kWithChunks, false).hash, expected);
  EXPECT_EQ(run(RowReading::kByRows).hash, expected);
}

TEST_F(TensorJobTest, RowsReadByThemselvesGiveTheSumsOfRowsReadWithTheChunks) {
  // Parts of 211 rows of 832 bytes: no boundary coincides with the end of a chunk.
  Unit unit = matrix(211, 416);
  unit.parts.clear();
  for (int part = 0; part < 7; ++part) unit.parts.push_back({.view = rows_view(part * 211, 416)});
  write(DType::kBF16, {7, 211, 416}, unit);
  const TensorResult chunks = run();
  const TensorResult rows = run(RowReading::kByRows);
  ASSERT_EQ(chunks.parts.size(), 7U);
  ASSERT_EQ(rows.parts.size(), 7U);
  for (size_t p = 0; p < 7; ++p) {
    const Distortion& a = chunks.parts[p].distortion;
    const Distortion& b = rows.parts[p].distortion;
    EXPECT_EQ(chunks.parts[p].formats, formats_for_cols(416));
    EXPECT_EQ(rows.parts[p].formats, formats_for_cols(416));
    EXPECT_NEAR(a.sum_squares / b.sum_squares, 1, kOtherCut);
    EXPECT_NEAR(a.sum_squares, 211 * 416, 2500) << "variance 1";
    for (size_t f = 0; f < kFormatCount; ++f) {
      EXPECT_EQ(a.squared_error[f] > 0, (formats_for_cols(416) >> f & 1U) != 0);
      EXPECT_NEAR(a.squared_error[f], b.squared_error[f], kOtherCut * b.squared_error[f]);
    }
  }
}

TEST_F(TensorJobTest, PartsInAnyOrderAndGapsBetweenThemKeepTheirOwnSums) {
  Unit unit = matrix(50, 256);
  unit.parts.clear();
  for (const int64_t row : {2000, 17, 2040}) {  // two overlap
    unit.parts.push_back({.view = rows_view(row, 256)});
  }
  const auto& bytes = write(DType::kF32, {2100, 256}, unit);
  const TensorResult result = run();
  for (size_t p = 0; p < unit.parts.size(); ++p) {
    const std::byte* rows = bytes.data() + unit.parts[p].view.first * 4;
    const Distortion truth = measure_distortion(rows, DType::kF32, 50, 256, formats_for_cols(256),
                                                options_.dtype, options_.encoder);
    EXPECT_NEAR(result.parts[p].distortion.sum_squares / truth.sum_squares, 1, kOtherCut);
    EXPECT_NEAR(result.parts[p].distortion.squared_error[4] / truth.squared_error[4], 1, kOtherCut);
  }
}

TEST_F(TensorJobTest, ARowLongerThanAChunkIsMeasuredInPieces) {
  const auto& bytes = write(DType::kBF16, {2, 700'000 / 32 * 32}, matrix(2, 700'000 / 32 * 32));
  const int64_t cols = 700'000 / 32 * 32;
  const Distortion truth =
      measure_distortion(bytes.data(), DType::kBF16, 2, cols, formats_for_cols(cols),
                         options_.dtype, options_.encoder);
  for (const RowReading reading : {RowReading::kWithChunks, RowReading::kByRows}) {
    const TensorResult result = run(reading);
    EXPECT_NEAR(result.parts[0].distortion.squared_error[6] / truth.squared_error[6], 1, kOtherCut);
  }
}

TEST_F(TensorJobTest, ATensorWithoutElementsHasAHashAndNoDistortion) {
  write(DType::kBF16, {0, 64}, matrix(0, 64));
  const TensorResult result = run();
  EXPECT_EQ(result.hash.size(), 32U);
  ASSERT_EQ(result.parts.size(), 1U);
  EXPECT_EQ(result.parts[0].distortion.sum_squares, 0);
  write(DType::kBF16, {1, 64}, matrix(1, 64));
  EXPECT_NE(run().hash, result.hash);
}

TEST_F(TensorJobTest, ATensorOfNoWeightDtypeIsHashedOnly) {
  Unit unit = matrix(1, 40);
  unit.quantizable = false;
  const auto& bytes = write(DType::kI64, {40}, unit);
  EXPECT_EQ(run().hash, hash_text(hash_text(text_of(bytes, 0, bytes.size()))));
  EXPECT_TRUE(curve_keys(*checkpoint_, uses_[0], "h", options_).value().empty());
}

}  // namespace
}  // namespace ram

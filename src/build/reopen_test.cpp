// A folder that this module wrote opens again as a checkpoint, and decodes to what was encoded.
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ram/build.h"
#include "ram/checkpoint.h"

#include "test_support.h"

namespace ram {
namespace {

using testing::Made;

/// One part of a source's unit as it would be stored: cast, encoded, decoded.
std::vector<float> encoded_and_decoded(const Checkpoint& source, const Unit& unit, int part,
                                       AffineFormat format, DType dtype) {
  std::vector<std::byte> weights(
      static_cast<size_t>(unit.part_weights() * dtype_bytes(unit.dtype)));
  source.read_rows(unit, part, 0, unit.rows, weights.data());
  const int64_t groups = unit.part_weights() / format.group_size;
  std::vector<uint32_t> codes(static_cast<size_t>(unit.part_weights() / 32 * format.bits));
  std::vector<std::byte> scales(static_cast<size_t>(groups * dtype_bytes(dtype)));
  std::vector<std::byte> biases = scales;
  affine_encode(weights.data(), unit.dtype, unit.rows, unit.cols, format, dtype, codes.data(),
                scales.data(), biases.data());
  std::vector<float> values(static_cast<size_t>(unit.part_weights()));
  affine_decode(codes.data(), scales.data(), biases.data(), dtype, unit.rows, unit.cols, format,
                values.data());
  return values;
}

std::vector<float> stored_values(const Checkpoint& folder, const Unit& unit, int part) {
  const AffineFormat format = unit.stored.value();
  const int64_t groups = unit.part_weights() / format.group_size;
  std::vector<uint32_t> codes(static_cast<size_t>(unit.part_weights() / 32 * format.bits));
  std::vector<std::byte> scales(static_cast<size_t>(groups * dtype_bytes(unit.dtype)));
  std::vector<std::byte> biases = scales;
  folder.read_encoded_rows(unit, part, 0, unit.rows, codes.data(), scales.data(), biases.data());
  std::vector<float> values(static_cast<size_t>(unit.part_weights()));
  affine_decode(codes.data(), scales.data(), biases.data(), unit.dtype, unit.rows, unit.cols,
                format, values.data());
  return values;
}

TEST(Reopen, a_built_folder_decodes_to_what_was_encoded) {
  for (const std::string family : {"qwen2", "qwen3_moe", "mixtral"}) {
    for (const DType dtype : {DType::kBF16, DType::kF16}) {
      SCOPED_TRACE(family);
      const Made made({.model_type = family}, dtype);
      const Plan plan = made.plan();
      made.build(plan, made.root / "out");
      const Checkpoint folder = Checkpoint::open((made.root / "out").string(), Quantized::kAccept);
      ASSERT_EQ(folder.units.size(), made.checkpoint->units.size());
      EXPECT_EQ(folder.bytes(), layout_plan(*made.checkpoint, plan, 1 << 30).weight_bytes);
      int quantized = 0;
      for (size_t i = 0; i < folder.units.size(); ++i) {
        const Unit& unit = folder.units[i];
        const Unit& source = made.checkpoint->units[i];
        EXPECT_EQ(unit.name, source.name);
        EXPECT_EQ(unit.shape, source.shape);
        EXPECT_EQ(unit.parts.size(), source.parts.size());
        EXPECT_EQ(unit.dtype, dtype);
        ASSERT_EQ(unit.stored, plan.units[i].format) << unit.name;
        if (!unit.stored) continue;
        ++quantized;
        for (int part = 0; part < static_cast<int>(unit.parts.size()); ++part) {
          EXPECT_EQ(stored_values(folder, unit, part),
                    encoded_and_decoded(*made.checkpoint, source, part, *unit.stored, dtype))
              << unit.name << " part " << part;
        }
      }
      EXPECT_GT(quantized, 8);
    }
  }
}

}  // namespace
}  // namespace ram

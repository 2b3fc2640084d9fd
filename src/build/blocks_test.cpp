// The split of a model into blocks: each row once, and the pieces of all blocks tile their tensors.
#include "blocks.h"

#include <map>

#include <gtest/gtest.h>

#include "test_support.h"

namespace ram::testing {
namespace {

TEST(Blocks, ThePiecesOfAllBlocksTileTheirTensors) {
  Made made({.model_type = "qwen2_moe", .hidden = 64, .layers = 1, .vocab = 9000});
  const Plan plan = made.plan();
  const Checkpoint& model = *made.checkpoint;
  const std::vector<UnitFormat> formats = formats_of_plan(model, plan);
  BlockEncoder encoder(model, formats, plan.dtype);
  const FolderLayout layout = layout_plan(model, plan);
  size_t most = 0;
  for (const PlacedTensor& tensor : layout.shards.at(0).tensors) {
    const Unit& unit = model.units[static_cast<size_t>(tensor.unit)];
    std::vector<Block> blocks;
    if (tensor.piece == Piece::kCarried) {
      append_carried_blocks(model, tensor.unit, tensor.carried, blocks);
    } else {
      append_unit_blocks(model, tensor.unit, blocks);
    }
    most = std::max(most, blocks.size());
    int64_t next = 0;
    for (const Block& block : blocks) {
      encoder.run(block);
      const UnitFormat& format = formats[static_cast<size_t>(tensor.unit)];
      EXPECT_EQ(piece_offset(unit, format, plan.dtype, block, tensor.piece), next);
      next += static_cast<int64_t>(encoder.bytes(tensor.piece).size());
      EXPECT_LE(source_bytes(model, block), int64_t{1} << 20);
    }
    EXPECT_EQ(next, tensor.spec.bytes()) << tensor.spec.name;
  }
  EXPECT_GE(most, 4U) << "at least a block for each expert";
}

TEST(Blocks, ABlockHasOnlyThePiecesOfItsKind) {
  Made made({.model_type = "qwen2", .hidden = 64, .layers = 1});
  const Plan plan = made.plan();
  const std::vector<UnitFormat> formats = formats_of_plan(*made.checkpoint, plan);
  BlockEncoder encoder(*made.checkpoint, formats, plan.dtype);
  for (size_t u = 0; u < made.checkpoint->units.size(); ++u) {
    const bool carries = !made.checkpoint->units[u].carried.empty();
    if (carries) {
      encoder.run({.unit = static_cast<int>(u), .carried = 0, .row = 0, .count = 32});
      EXPECT_EQ(encoder.bytes(Piece::kCarried).size(), 64U);
      EXPECT_TRUE(encoder.bytes(Piece::kWeight).empty());
      EXPECT_TRUE(encoder.bytes(Piece::kScales).empty());
    }
    encoder.run({.unit = static_cast<int>(u), .row = 0, .count = 1});
    EXPECT_FALSE(encoder.bytes(Piece::kWeight).empty());
    EXPECT_EQ(encoder.bytes(Piece::kScales).empty(), !formats[u]);
    EXPECT_EQ(encoder.bytes(Piece::kBiases).empty(), !formats[u]);
    EXPECT_TRUE(encoder.bytes(Piece::kCarried).empty());
  }
}

}  // namespace
}  // namespace ram::testing

// Encodes blocks and writes them: see shard_writer.h. The split into blocks depends only on the
// model, and one thread writes each block to its own offsets, so the file's bytes do not depend on
// the number of threads.
#include "shard_writer.h"

#include <array>
#include <map>

#include "ram/cancellation.h"
#include "ram/progress.h"
#include "ram/thread.h"

#include "file_digest.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

/// The tensors of one unit in a shard; a unit too large for one shard has others elsewhere.
struct UnitTensors {
  std::array<const PlacedTensor*, 3> pieces = {};  // kWeight, kScales, kBiases
  std::map<int, const PlacedTensor*> carried;

  const PlacedTensor* find(const Block& block, Piece piece) const {
    if (piece != Piece::kCarried) return pieces[static_cast<size_t>(piece)];
    const auto found = carried.find(block.carried);
    return found == carried.end() ? nullptr : found->second;
  }
};

std::map<int, UnitTensors> by_unit(const Shard& shard) {
  std::map<int, UnitTensors> units;
  for (const PlacedTensor& tensor : shard.tensors) {
    UnitTensors& unit = units[tensor.unit];
    if (tensor.piece == Piece::kCarried) {
      unit.carried[tensor.carried] = &tensor;
    } else {
      unit.pieces[static_cast<size_t>(tensor.piece)] = &tensor;
    }
  }
  return units;
}

std::vector<Block> blocks_of(const Checkpoint& checkpoint,
                             const std::map<int, UnitTensors>& units) {
  std::vector<Block> blocks;
  for (const auto& [unit, tensors] : units) {
    const auto& [weight, scales, biases] = tensors.pieces;
    if (weight != nullptr || scales != nullptr || biases != nullptr) {
      append_unit_blocks(checkpoint, unit, blocks);
    }
    for (const auto& [carried, tensor] : tensors.carried) {
      append_carried_blocks(checkpoint, unit, carried, blocks);
    }
  }
  return blocks;
}

}  // namespace

ShardWriter::ShardWriter(const Checkpoint& checkpoint, std::span<const UnitFormat> formats,
                         DType dtype, const EncodedRowsFn& encoded, int threads,
                         const ProgressFn& progress)
    : checkpoint_(&checkpoint),
      formats_(formats),
      dtype_(dtype),
      threads_(threads),
      progress_(progress),
      encoders_(static_cast<size_t>(threads), BlockEncoder(checkpoint, formats, dtype, &encoded)) {}

void ShardWriter::expect(const Shard& shard) {
  for (const Block& block : blocks_of(*checkpoint_, by_unit(shard))) {
    total_bytes_ += source_bytes(*checkpoint_, block);
  }
}

std::string ShardWriter::write(const Shard& shard, const fs::path& path) {
  const std::map<int, UnitTensors> units = by_unit(shard);
  const std::vector<Block> blocks = blocks_of(*checkpoint_, units);
  DigestedFile file(path, shard.bytes);
  file.write(0, std::as_bytes(std::span(shard.header)));
  const size_t ahead = 8 * static_cast<size_t>(threads_);
  parallel_for(threads_, static_cast<int64_t>(blocks.size()), [&](int64_t index, int worker) {
    check_interrupted();
    const size_t at = static_cast<size_t>(index);
    if (at + ahead < blocks.size() && blocks[at + ahead].carried < 0) {
      const Block& next = blocks[at + ahead];
      const Unit& unit = checkpoint_->units[static_cast<size_t>(next.unit)];
      checkpoint_->prefetch_rows(unit, next.part, next.row, next.count);
    }
    const Block& block = blocks[at];
    const Unit& unit = checkpoint_->units[static_cast<size_t>(block.unit)];
    const UnitFormat& format = formats_[static_cast<size_t>(block.unit)];
    BlockEncoder& encoder = encoders_[static_cast<size_t>(worker)];
    encoder.run(block);
    for (const Piece piece : {Piece::kWeight, Piece::kScales, Piece::kBiases, Piece::kCarried}) {
      const std::span<const std::byte> bytes = encoder.bytes(piece);
      const PlacedTensor* tensor =
          bytes.empty() ? nullptr : units.at(block.unit).find(block, piece);
      if (tensor == nullptr) continue;
      file.write(tensor->begin + piece_offset(unit, format, dtype_, block, piece), bytes);
    }
    report(source_bytes(*checkpoint_, block));
  });
  return file.finish();
}

void ShardWriter::report(int64_t bytes) {
  const std::lock_guard lock(progress_mutex_);
  done_bytes_ += bytes;
  if (progress_) {
    progress_({.phase = "write", .done = done_bytes_, .total = total_bytes_});
  }
}

}  // namespace ram

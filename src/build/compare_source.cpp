// Block by block, as the folder was written: see compare_source.h.
#include "compare_source.h"

#include <cmath>
#include <cstring>
#include <optional>
#include <set>
#include <span>
#include <string>

#include "ram/cancellation.h"
#include "ram/curve.h"
#include "ram/error.h"
#include "ram/mlx_layout.h"
#include "ram/quant.h"
#include "ram/thread.h"

#include "blocks.h"

namespace ram {
namespace {

// The curve may use a reciprocal where the encoder divides (quant.h, measure_distortion).
constexpr double kErrorTolerance = 1e-6;
// Relative to the sum of squares: float32 rounding of an error that is nearly zero.
constexpr double kErrorFloor = 1e-12;

/// The comparison of one block of rows.
struct BlockResult {
  double squared_error = 0;
  double sum_squares = 0;
  bool same_bytes = true;
};

class Comparison {
 public:
  Comparison(const FolderView& view, const Checkpoint& source,
             const std::vector<UnitFormat>& formats)
      : view_(view), source_(source), encoder_(source, formats, view.plan->dtype) {}

  BlockResult run(const Block& block, const FoundUnit& found, UnitFormat format) {
    const Unit& unit = source_.units[static_cast<size_t>(block.unit)];
    BlockResult result;
    encoder_.run(block);
    if (block.carried >= 0) {
      const Carried& carried = unit.carried[static_cast<size_t>(block.carried)];
      const FoundTensor* tensor = view_.find(carried.name);
      result.same_bytes = same(block, unit, format, Piece::kCarried, tensor, plain_);
      return result;
    }
    result.same_bytes = same(block, unit, format, Piece::kWeight, found.weight, plain_);
    if (!format) return result;
    result.same_bytes &= same(block, unit, format, Piece::kScales, found.scales, scales_);
    result.same_bytes &= same(block, unit, format, Piece::kBiases, found.biases, biases_);
    measure(block, unit, *format, result);
    return result;
  }

 private:
  /// Reads the folder's bytes of a piece into `found`; true if they equal the fresh encoding.
  bool same(const Block& block, const Unit& unit, UnitFormat format, Piece piece,
            const FoundTensor* tensor, std::vector<std::byte>& found) {
    const std::span<const std::byte> fresh = encoder_.bytes(piece);
    const int64_t at = piece_offset(unit, format, view_.plan->dtype, block, piece);
    if (tensor == nullptr || at + static_cast<int64_t>(fresh.size()) > tensor->info.bytes()) {
      return false;
    }
    found.resize(fresh.size());
    tensor->file->read(tensor->info.begin + at, found);
    return std::memcmp(found.data(), fresh.data(), fresh.size()) == 0;
  }

  /// Squared error of the folder's weights against the source, after the cast.
  void measure(const Block& block, const Unit& unit, AffineFormat format, BlockResult& result) {
    const DType dtype = view_.plan->dtype;
    const int64_t count = block.count * unit.cols;
    codes_.resize(plain_.size() / sizeof(uint32_t));
    std::memcpy(codes_.data(), plain_.data(), plain_.size());
    decoded_.resize(static_cast<size_t>(count));
    weights_.resize(decoded_.size());
    cast_.resize(decoded_.size() * static_cast<size_t>(dtype_bytes(dtype)));
    affine_decode(codes_.data(), scales_.data(), biases_.data(), dtype, block.count, unit.cols,
                  format, decoded_.data());
    to_f32(encoder_.source().data(), unit.dtype, count, weights_.data());
    from_f32(weights_.data(), dtype, count, cast_.data());
    to_f32(cast_.data(), dtype, count, weights_.data());
    for (size_t i = 0; i < decoded_.size(); ++i) {
      const double weight = weights_[i];
      const double error = static_cast<double>(decoded_[i]) - weight;
      result.squared_error += error * error;
      result.sum_squares += weight * weight;
    }
  }

  const FolderView& view_;
  const Checkpoint& source_;
  BlockEncoder encoder_;
  std::vector<std::byte> plain_;
  std::vector<std::byte> scales_;
  std::vector<std::byte> biases_;
  std::vector<uint32_t> codes_;
  std::vector<std::byte> cast_;
  std::vector<float> decoded_;
  std::vector<float> weights_;
};

/// @return the plan's formats in the order of the source's units; nothing if the units differ.
std::optional<std::vector<UnitFormat>> match_source(const FolderView& view,
                                                    const Checkpoint& source, Problems& problems) {
  const std::vector<PlannedUnit>& planned = view.plan->units;
  std::vector<UnitFormat> formats;
  for (size_t i = 0; i < source.units.size(); ++i) {
    const Unit& unit = source.units[i];
    if (i >= planned.size() || planned[i].name != unit.name) {
      problems.add("plan.json: its units are not those of {}, where {} is unit {}", source.name,
                   unit.name, i);
      return std::nullopt;
    }
    const UnitFormat format = planned[i].format;
    if (planned[i].weights != unit.weights() ||
        (format && (!unit.quantizable || unit.cols % format->group_size != 0))) {
      problems.add("plan.json: unit {} differs from that of {}", unit.name, source.name);
      return std::nullopt;
    }
    formats.push_back(format);
  }
  if (planned.size() == source.units.size()) return formats;
  problems.add("plan.json: {} units, {} has {}", planned.size(), source.name, source.units.size());
  return std::nullopt;
}

/// Compares config.json and the carried files, and reports any other file.
void compare_files(const FolderView& view, const Checkpoint& source, const FolderLayout& layout,
                   Problems& problems) {
  std::set<std::string> known = {"README.md", "plan.json"};
  for (const RenderedFile& file : layout.rendered) {
    known.insert(file.name);
    const auto found = view.files.find(file.name);
    // The index depends on the shards' sizes and was checked against the shards.
    if (file.name != "config.json" || found == view.files.end()) continue;
    if (read_text_file(view.out / file.name, found->second) != file.text) {
      problems.add("{}: differs from the one that the source gives", file.name);
    }
  }
  for (const CarriedFile& file : layout.carried_files) {
    known.insert(file.name);
    const auto found = view.files.find(file.name);
    if (found == view.files.end()) {
      problems.add("{}: missing; the source has it", file.name);
    } else if (found->second != file.bytes ||
               read_text_file(view.out / file.name, file.bytes) !=
                   read_text_file(source.folder / file.name, file.bytes)) {
      problems.add("{}: differs from the source's", file.name);
    }
  }
  for (const auto& [name, size] : view.files) {
    if (!known.contains(name) && !name.ends_with(".safetensors")) {
      problems.add("{}: not part of this folder ({} bytes)", name, size);
    }
  }
}

/// Shapes must be the source's: a unit with other shapes cannot be compared.
void compare_shapes(const FolderView& view, const FolderLayout& layout,
                    std::vector<FoundUnit>& units, Problems& problems) {
  for (const Shard& shard : layout.shards) {
    for (const PlacedTensor& tensor : shard.tensors) {
      const FoundTensor* found = view.find(tensor.spec.name);
      if (found != nullptr && found->info.dtype == tensor.spec.dtype &&
          found->info.shape == tensor.spec.shape) {
        continue;
      }
      problems.add(
          "tensor {}: {}", tensor.spec.name,
          found == nullptr ? "missing; the source has it" : "has another shape in the source");
      units[static_cast<size_t>(tensor.unit)].weight = nullptr;
    }
  }
}

/// @return |measured / planned - 1|, reported as a problem if it is too large.
double compare_error(const std::string& unit, double measured, double planned, double sum_squares,
                     std::string_view where, Problems& problems) {
  const double gap = std::abs(measured - planned);
  if (gap > kErrorTolerance * planned + kErrorFloor * sum_squares) {
    problems.add("unit {}: squared error {:.9g}, {} says {:.9g}", unit, measured, where, planned);
  }
  return planned > 0 ? gap / planned : 0;
}

/// Judges one unit by the results of its blocks. @return |measured / planned - 1|.
/// @param fresh whether a quantized unit is what affine_encode gives (encoder mlx).
double judge_unit(const Unit& unit, const PlannedUnit& planned, const UnitCurve* curve, bool fresh,
                  std::span<const Block> blocks, std::span<const BlockResult> results,
                  Problems& problems) {
  BlockResult sum;
  const Block* differs = nullptr;
  for (size_t i = 0; i < blocks.size(); ++i) {
    sum.squared_error += results[i].squared_error;
    sum.sum_squares += results[i].sum_squares;
    const bool compared = fresh || !planned.format || blocks[i].carried >= 0;
    if (compared && !results[i].same_bytes && differs == nullptr) differs = &blocks[i];
  }
  if (differs != nullptr) {
    const std::string place = differs->carried >= 0
                                  ? unit.carried[static_cast<size_t>(differs->carried)].name
                                  : fmt::format("part {}, rows {} to {}", differs->part,
                                                differs->row, differs->row + differs->count - 1);
    problems.add("unit {}: not a fresh encoding of its source, first at {}", unit.name, place);
  }
  if (!planned.format) return 0;
  // The plan's own rule, so that both treat the same values as zero.
  const double stored = nrmse(sum.squared_error, sum.sum_squares, unit.weights());
  const double ratio = compare_error(unit.name, stored * stored * sum.sum_squares,
                                     planned.nrmse * planned.nrmse * sum.sum_squares,
                                     sum.sum_squares, "plan.json", problems);
  if (curve == nullptr || !fresh) return ratio;
  const auto index = static_cast<size_t>(format_index(*planned.format));
  return compare_error(unit.name, sum.squared_error, curve->pooled.squared_error[index],
                       sum.sum_squares, "the study", problems);
}

/// The blocks of all units that can be compared.
std::vector<Block> comparable_blocks(const Checkpoint& source,
                                     const std::vector<FoundUnit>& units) {
  std::vector<Block> blocks;
  for (size_t u = 0; u < units.size(); ++u) {
    if (units[u].weight == nullptr) continue;
    append_unit_blocks(source, static_cast<int>(u), blocks);
    for (size_t c = 0; c < source.units[u].carried.size(); ++c) {
      append_carried_blocks(source, static_cast<int>(u), static_cast<int>(c), blocks);
    }
  }
  return blocks;
}

}  // namespace

double compare_source(const FolderView& view, std::vector<FoundUnit> units,
                      const Checkpoint& source, Study* study, int threads, const Meter& meter,
                      Problems& problems) {
  const auto formats = match_source(view, source, problems);
  if (!formats) return 0;
  std::optional<ModelCurves> curves;
  if (study != nullptr) {
    curves = analyze(source, *study, {.dtype = view.plan->dtype, .threads = threads});
    if (curves->fingerprint != view.plan->fingerprint) {
      problems.add("plan.json: made from fingerprint {}, {} has {}", view.plan->fingerprint,
                   source.name, curves->fingerprint);
      return 0;
    }
  }
  const FolderLayout layout = layout_folder(source, *formats, view.plan->dtype);
  compare_files(view, source, layout, problems);
  compare_shapes(view, layout, units, problems);

  const std::vector<Block> blocks = comparable_blocks(source, units);
  std::vector<Comparison> workers(static_cast<size_t>(threads), Comparison(view, source, *formats));
  std::vector<BlockResult> results(blocks.size());
  parallel_for(threads, static_cast<int64_t>(blocks.size()), [&](int64_t i, int worker) {
    check_interrupted();
    const Block& block = blocks[static_cast<size_t>(i)];
    const auto u = static_cast<size_t>(block.unit);
    results[static_cast<size_t>(i)] =
        workers[static_cast<size_t>(worker)].run(block, units[u], (*formats)[u]);
    meter.add(source_bytes(source, block));
  });

  double largest = 0;
  for (size_t begin = 0, end = 0; begin < blocks.size(); begin = end) {
    const int unit = blocks[begin].unit;
    while (end < blocks.size() && blocks[end].unit == unit) ++end;
    const auto u = static_cast<size_t>(unit);
    const double ratio = judge_unit(
        source.units[u], view.plan->units[u], curves ? &curves->units[u] : nullptr,
        view.plan->encoder == Encoder::kMlx, std::span(blocks).subspan(begin, end - begin),
        std::span(results).subspan(begin, end - begin), problems);
    largest = std::max(largest, ratio);
  }
  return largest;
}

}  // namespace ram

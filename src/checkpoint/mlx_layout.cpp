// The bytes of a finished folder without its weights: the position of each tensor, the headers, the
// index. Knows MLX's names and shapes of a quantized module; whether and how a module is quantized
// is up to the caller.
#include "ram/mlx_layout.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/json.h"

namespace ram {
namespace {

std::map<std::string, std::string> shard_metadata() {
  return {{"format", "mlx"}};
}

/// The output tensors of one unit, in the order of Piece; `begin` is set later.
std::vector<PlacedTensor> unit_tensors(const Checkpoint& checkpoint, int index, UnitFormat format,
                                       DType dtype) {
  const Unit& unit = checkpoint.units[static_cast<size_t>(index)];
  std::vector<PlacedTensor> out;
  const auto add = [&](std::string name, DType type, std::vector<int64_t> shape, Piece piece) {
    out.push_back({.spec = {.name = std::move(name), .dtype = type, .shape = std::move(shape)},
                   .unit = index,
                   .piece = piece});
  };
  if (!format) {
    add(unit.tensor, dtype, unit.shape, Piece::kWeight);
  } else {
    RAM_CHECK(format_index(*format) >= 0 && unit.quantizable && !unit.shape.empty() &&
              unit.cols % format->group_size == 0);
    // The codes of a row form one bit string in 32-bit words; group sizes make its length a
    // multiple of 32 bits.
    std::vector<int64_t> shape = unit.shape;
    shape.back() = code_words(unit.cols, *format);
    add(unit.tensor, DType::kU32, shape, Piece::kWeight);
    shape.back() = unit.cols / format->group_size;
    add(unit.name + ".scales", dtype, shape, Piece::kScales);
    add(unit.name + ".biases", dtype, shape, Piece::kBiases);
  }
  for (size_t i = 0; i < unit.carried.size(); ++i) {
    const Carried& carried = unit.carried[i];
    const TensorInfo& source = checkpoint.tensors[static_cast<size_t>(carried.tensor)].info;
    add(carried.name, dtype, source.shape, Piece::kCarried);
    out.back().carried = static_cast<int>(i);
  }
  return out;
}

/// Upper bound on the bytes that this tensor adds to a header.
int64_t header_entry_bound(const TensorSpec& spec) {
  constexpr int64_t kDigits = 20;  // of a 64-bit number, with its comma
  const auto escaped = std::count_if(spec.name.begin(), spec.name.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\';
  });
  constexpr std::string_view kFrame = R"("":{"dtype":"F8_E4M3FNUZ","shape":[],"data_offsets":[]},)";
  return static_cast<int64_t>(kFrame.size() + spec.name.size()) + 5 * escaped +
         kDigits * static_cast<int64_t>(spec.shape.size() + 2);
}

/// Distributes tensors over shards, keeping each file within max_bytes.
class ShardFiller {
 public:
  explicit ShardFiller(int64_t max_bytes) : max_bytes_(max_bytes) {}

  void add_unit(std::vector<PlacedTensor> tensors) {
    int64_t whole = 0;
    for (const PlacedTensor& tensor : tensors) whole += bound(tensor);
    // A unit split over two shards is encoded twice, once for each.
    if (used_ + whole > max_bytes_) close();
    for (PlacedTensor& tensor : tensors) {
      if (used_ + bound(tensor) > max_bytes_) close();
      used_ += bound(tensor);
      open_.push_back(std::move(tensor));
    }
  }

  std::vector<std::vector<PlacedTensor>> finish() {
    close();
    if (shards_.empty()) shards_.emplace_back();
    return std::move(shards_);
  }

 private:
  static int64_t bound(const PlacedTensor& tensor) {
    return tensor.spec.bytes() + header_entry_bound(tensor.spec);
  }

  void close() {
    if (!open_.empty()) shards_.push_back(std::exchange(open_, {}));
    used_ = kEmptyHeader;
  }

  static constexpr int64_t kEmptyHeader = 64;  // length, metadata, padding

  int64_t max_bytes_;
  int64_t used_ = kEmptyHeader;
  std::vector<PlacedTensor> open_;
  std::vector<std::vector<PlacedTensor>> shards_;
};

Shard place(std::vector<PlacedTensor> tensors, size_t number, size_t count) {
  Shard shard;
  // @source mlx_lm/utils.py, save_model: shard_file_format
  shard.name = count == 1 ? "model.safetensors"
                          : fmt::format("model-{:05}-of-{:05}.safetensors", number + 1, count);
  std::stable_sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return dtype_bits(a.spec.dtype) > dtype_bits(b.spec.dtype);
  });
  std::vector<TensorSpec> specs;
  specs.reserve(tensors.size());
  for (const PlacedTensor& tensor : tensors) specs.push_back(tensor.spec);
  shard.header = render_safetensors_header(specs, shard_metadata());
  shard.bytes = static_cast<int64_t>(shard.header.size());
  for (PlacedTensor& tensor : tensors) {
    tensor.begin = shard.bytes;
    shard.bytes += tensor.spec.bytes();
  }
  shard.tensors = std::move(tensors);
  return shard;
}

/// @source mlx_lm/utils.py, save_model: index_data
std::string render_index(const FolderLayout& layout, int64_t parameters) {
  nlohmann::json map = nlohmann::json::object();
  for (const Shard& shard : layout.shards) {
    for (const PlacedTensor& tensor : shard.tensors) map[tensor.spec.name] = shard.name;
  }
  const nlohmann::json index = {
      {"metadata", {{"total_size", layout.weight_bytes}, {"total_parameters", parameters}}},
      {"weight_map", std::move(map)}};
  return index.dump(4) + "\n";
}

/// Files that every output folder generates itself; a source's file of that name is not copied.
bool is_own_file(const std::string& name) {
  constexpr std::array<std::string_view, 4> kOwn = {"README.md", "config.json",
                                                    "model.safetensors.index.json", "plan.json"};
  return std::find(kOwn.begin(), kOwn.end(), name) != kOwn.end() || name.ends_with(".safetensors");
}

}  // namespace

int64_t FolderLayout::total_bytes() const {
  int64_t total = 0;
  for (const Shard& shard : shards) total += shard.bytes;
  for (const RenderedFile& file : rendered) total += static_cast<int64_t>(file.text.size());
  for (const CarriedFile& file : carried_files) total += file.bytes;
  return total;
}

std::string unit_format_name(UnitFormat format, DType dtype) {
  return format ? format_name(*format) : std::string(weight_dtype_name(dtype));
}

int64_t unit_bytes(const Checkpoint& checkpoint, const Unit& unit, UnitFormat format, DType dtype) {
  int64_t bytes = 0;
  if (format) {
    bytes = static_cast<int64_t>(unit.parts.size()) *
            encoded_bytes(unit.rows, unit.cols, *format, dtype);
  } else {
    bytes = unit.weights() * dtype_bytes(dtype);
  }
  for (const Carried& carried : unit.carried) {
    bytes += checkpoint.tensors[static_cast<size_t>(carried.tensor)].info.elements() *
             dtype_bytes(dtype);
  }
  return bytes;
}

int64_t parameter_count(const Checkpoint& checkpoint) {
  int64_t count = 0;
  for (const Unit& unit : checkpoint.units) {
    count += unit.weights();
    for (const Carried& carried : unit.carried) {
      count += checkpoint.tensors[static_cast<size_t>(carried.tensor)].info.elements();
    }
  }
  return count;
}

FolderLayout layout_folder(const Checkpoint& checkpoint, std::span<const UnitFormat> formats,
                           DType dtype, int64_t max_shard_bytes) {
  RAM_CHECK(formats.size() == checkpoint.units.size() && is_weight_dtype(dtype));
  ShardFiller filler(max_shard_bytes);
  for (size_t i = 0; i < formats.size(); ++i) {
    filler.add_unit(unit_tensors(checkpoint, static_cast<int>(i), formats[i], dtype));
  }
  std::vector<std::vector<PlacedTensor>> dealt = filler.finish();

  FolderLayout layout;
  for (size_t i = 0; i < dealt.size(); ++i) {
    layout.shards.push_back(place(std::move(dealt[i]), i, dealt.size()));
    const Shard& shard = layout.shards.back();
    layout.weight_bytes += shard.bytes - static_cast<int64_t>(shard.header.size());
  }
  layout.rendered.push_back({"config.json", render_config(checkpoint, formats, dtype)});
  layout.rendered.push_back(
      {"model.safetensors.index.json", render_index(layout, parameter_count(checkpoint))});
  for (const CarriedFile& file : checkpoint.carried_files) {
    if (!is_own_file(file.name)) layout.carried_files.push_back(file);
  }
  return layout;
}

}  // namespace ram

// Walks the family's rows in the order of the model and takes each module's tensors; the remaining
// ones are dropped by rule or rejected. The first missing tensor ends the walk, so the work is
// bounded by the number of tensors.
#include "table.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ram/error.h"
#include "ram/size.h"

#include "elements.h"
#include "keys.h"
#include "layout.h"

namespace ram {
namespace {

/// "<path>.scales" for "<path>.weight".
std::string beside(std::string_view weight, std::string_view what) {
  constexpr std::string_view kEnd = ".weight";
  if (weight.ends_with(kEnd)) weight.remove_suffix(kEnd.size());
  return fmt::format("{}.{}", weight, what);
}

/// "a.{l}.b" with the number instead of the mark.
std::string with_number(std::string_view pattern, std::string_view mark, int64_t number) {
  const size_t at = pattern.find(mark);
  if (at == std::string_view::npos) return std::string(pattern);
  return fmt::format("{}{}{}", pattern.substr(0, at), number, pattern.substr(at + mark.size()));
}

class Builder {
 public:
  Builder(const ParsedConfig& config, const std::vector<SourceTensor>& tensors,
          const TablePlace& place)
      : config_(config),
        tensors_(tensors),
        place_(place),
        folder_(place.folder),
        used_(tensors.size(), false) {}

  UnitTable build() {
    const std::vector<std::string> heads = weight_names(*config_.family, Role::kHead);
    const bool has_head = std::any_of(heads.begin(), heads.end(),
                                      [&](const std::string& name) { return find(name) >= 0; });
    // If the config does not say, transformers expects a separate head, and mlx_lm mostly none.
    table_.tied = config_.tied.value_or(!has_head && config_.family->may_be_tied);
    if (table_.tied && !config_.family->may_be_tied) {
      fail(Code::kUnsupported,
           "tie_word_embeddings is true, and the files hold no {}: mlx_lm's {} model "
           "needs a separate head ({})",
           heads.front(), config_.family->model_type, folder_);
    }
    add_blocks(config_.family->before, -1);
    for (int64_t layer = 0; layer < std::ssize(config_.model.layers); ++layer) {
      add_blocks(config_.family->layer, static_cast<int>(layer));
    }
    add_blocks(config_.family->after, -1);
    if (table_.tied) table_.head = table_.embedding;
    RAM_CHECK(table_.embedding >= 0 && table_.final_norm >= 0 && table_.head >= 0);
    drop_or_refuse_the_rest(heads);
    return std::move(table_);
  }

 private:
  void add_blocks(std::span<const ModuleRows> blocks, int layer) {
    for (const ModuleRows& block : blocks) {
      for (const ModuleRow& row : block) {
        if (applies(row.when, layer)) add_unit(row, layer);
      }
    }
  }

  bool applies(When when, int layer) const {
    switch (when) {
      case When::kAlways:
        return true;
      case When::kUntied:
        return !table_.tied;
      case When::kDenseLayer:
        return !config_.model.layer(layer).experts;
      case When::kExpertLayer:
        return config_.model.layer(layer).experts.has_value();
    }
    RAM_CHECK(false);
    return false;
  }

  void add_unit(const ModuleRow& row, int layer) {
    Unit unit;
    unit.name = with_number(row.module, "{l}", layer);
    unit.tensor = unit.name + ".weight";
    unit.role = row.role;
    unit.layer = layer;
    unit.rows = config_.size(row.rows);
    unit.cols = config_.size(row.cols);
    unit.quantizable = row.kind != Kind::kVector;
    unit.uniform_rule = row.uniform_rule;
    const std::vector<NamedSource> sources = sources_of(*config_.family, row);
    const auto present = std::find_if(
        sources.begin(), sources.end(),
        [&](const NamedSource& source) { return find(tensor_name(source, layer, 0)) >= 0; });
    // If none exists, taking the first reports what is missing.
    const NamedSource& source = present == sources.end() ? sources.front() : *present;
    unit.stored = stored_format(unit, tensor_name(source, layer, 0));
    take(source, row, layer, unit);
    if (row.kind == Kind::kVector) {
      unit.shape = {unit.cols};
    } else if (row.kind == Kind::kMatrix) {
      unit.shape = {unit.rows, unit.cols};
    } else {
      unit.shape = {static_cast<int64_t>(unit.parts.size()), unit.rows, unit.cols};
    }
    if (has_bias(row.bias)) {
      unit.carried.push_back(
          {take_tensor(bias_name(row, layer), {unit.rows}), unit.name + ".bias"});
    }
    if (layer < 0) note_end(unit.role);
    table_.units.push_back(std::move(unit));
  }

  /// Records the next unit if it is at an end of the model.
  void note_end(Role role) {
    const int unit = static_cast<int>(table_.units.size());
    if (role == Role::kEmbedding) table_.embedding = unit;
    if (role == Role::kNorm) table_.final_norm = unit;
    if (role == Role::kHead) table_.head = unit;
  }

  /// The format implied by the shapes of codes and scales; nothing if there are no scales.
  /// @source mlx_lm 0.32.2, utils.py, `infer_quant_config`
  std::optional<AffineFormat> format_of_shapes(const Unit& unit, const std::string& weight) const {
    const int scales = unit.quantizable ? find(beside(weight, "scales")) : -1;
    if (scales < 0) return std::nullopt;
    const int codes = find(weight);
    if (codes < 0 || info(codes).shape.empty() || info(scales).shape.empty()) return AffineFormat{};
    const int64_t words = info(codes).shape.back();
    const int64_t groups = info(scales).shape.back();
    if (groups <= 0 || words <= 0 || words > kMaxWidth || unit.cols % groups != 0 ||
        words * 32 % unit.cols != 0) {
      return AffineFormat{};
    }
    return AffineFormat{.bits = static_cast<int>(words * 32 / unit.cols),
                        .group_size = static_cast<int>(unit.cols / groups)};
  }

  /// The storage format of a module by config.json, checked against what is possible.
  std::optional<AffineFormat> stored_format(const Unit& unit, const std::string& weight) const {
    const auto format = config_.stored.format_of(unit.name, format_of_shapes(unit, weight));
    if (!format) return format;
    if (!unit.quantizable) {
      fail(Code::kCorrupt,
           "config.json says that {} is quantized: MLX cannot store it quantized ({})", unit.name,
           folder_);
    }
    if (unit.cols % format->group_size != 0) {
      fail(Code::kCorrupt,
           "config.json says that {} is quantized in groups of {}, which do not divide its rows of "
           "{} ({})",
           unit.name, format->group_size, unit.cols, folder_);
    }
    return format;
  }

  /// Fills the unit's parts from one source.
  void take(const NamedSource& source, const ModuleRow& row, int layer, Unit& unit) {
    const int64_t parts = row.kind == Kind::kStack ? config_.size(row.parts) : 1;
    std::vector<SizedStep> steps;
    for (const auto& [step, others] : source.steps) steps.push_back({step, config_.size(others)});
    const TensorLayout layout(std::move(steps), parts, unit.rows, unit.cols);
    std::vector<int64_t> shape = layout.shape();
    if (row.kind == Kind::kVector) shape.erase(shape.begin());
    const bool one_each = source.name.find("{e}") != std::string::npos;
    Part taken;
    for (int64_t p = 0; p < parts; ++p) {
      if (p == 0 || one_each) taken = take_part(tensor_name(source, layer, p), shape, unit);
      taken.view = layout.view(one_each ? 0 : p);
      if (unit.stored && !is_rows(taken, unit.cols)) refuse_reshaped(unit);
      unit.parts.push_back(taken);
    }
    const auto weights = [&](const Part& part) -> const TensorInfo& {
      return info(unit.stored ? part.scales : part.tensor);
    };
    const auto dtype_of = [&](const Part& part) {
      return part.storage == StorageFormat::kPlain ? weights(part).dtype : DType::kBF16;
    };
    unit.dtype = dtype_of(unit.parts.front());
    for (const Part& part : unit.parts) {
      if (dtype_of(part) == unit.dtype) continue;
      fail(Code::kUnsupported,
           "tensor {} is {} and {} is {}: experts of one projection must share "
           "one dtype ({})",
           weights(part).name, dtype_name(weights(part).dtype), weights(unit.parts.front()).name,
           dtype_name(unit.dtype), folder_);
    }
  }

  [[noreturn]] void refuse_reshaped(const Unit& unit) const {
    fail(Code::kUnsupported,
         "{} is quantized, and its tensors are not shaped as mlx_lm's: not supported ({})",
         unit.name, folder_);
  }

  /// The tensor of this name, or the three that store it quantized. If config.json wrongly calls it
  /// quantized, the shape or the missing scales show it.
  Part take_part(const std::string& name, std::vector<int64_t> shape, const Unit& unit) {
    if (!unit.stored) {
      const int index = find(name);
      const bool fp8 = config_.stored.fp8_blocks() && shape.size() == 2 && index >= 0 &&
                       info(index).dtype == DType::kF8E4M3;
      return fp8 ? take_fp8(name, shape) : Part{.tensor = take_tensor(name, shape)};
    }
    shape.back() = unit.cols / 32 * unit.stored->bits;
    Part part = {.tensor = take_tensor(name, shape, DType::kU32)};
    shape.back() = unit.cols / unit.stored->group_size;
    part.scales = take_tensor(beside(name, "scales"), shape);
    part.biases = take_tensor(beside(name, "biases"), shape);
    const TensorInfo& scales = info(part.scales);
    const TensorInfo& biases = info(part.biases);
    if (scales.dtype != biases.dtype) {
      fail(Code::kCorrupt, "tensor {} is {} and {} is {}: they must share one dtype ({})",
           scales.name, dtype_name(scales.dtype), biases.name, dtype_name(biases.dtype), folder_);
    }
    return part;
  }

  Part take_fp8(const std::string& name, const std::vector<int64_t>& shape) {
    Part part = {.tensor = take_tensor(name, shape, DType::kF8E4M3)};
    part.scales = take_tensor(name + "_scale_inv",
                              {ceil_div(shape[0], kFp8Block), ceil_div(shape[1], kFp8Block)});
    part.storage = StorageFormat::kFp8Blocks;
    return part;
  }

  /// @return the index of a tensor that must exist with this shape and this dtype; without a dtype,
  /// any weight dtype.
  int take_tensor(const std::string& name, const std::vector<int64_t>& shape,
                  std::optional<DType> dtype = std::nullopt) {
    const int index = find(name);
    if (index < 0) {
      fail(Code::kMissing, "tensor {} is missing: config.json of this {} calls for it ({}){}", name,
           config_.model.model_type, folder_, next_step(name));
    }
    const TensorInfo& tensor = info(index);
    if (dtype ? tensor.dtype != *dtype : !is_weight_dtype(tensor.dtype))
      refuse_dtype(tensor, dtype);
    if (tensor.shape != shape) {
      fail(Code::kCorrupt, "tensor {} has shape {}: config.json says {} ({})", name,
           shape_text(tensor.shape), shape_text(shape), folder_);
    }
    used_[static_cast<size_t>(index)] = true;
    return index;
  }

  [[noreturn]] void refuse_dtype(const TensorInfo& tensor, std::optional<DType> wanted) const {
    if (wanted) {
      fail(Code::kCorrupt,
           "tensor {} is {}: config.json calls it quantized, whose codes are {} ({})", tensor.name,
           dtype_name(tensor.dtype), dtype_name(*wanted), folder_);
    }
    if (config_.stored.any()) {
      fail(Code::kUnsupported,
           "tensor {} is {}: BF16, F16 and F32 are read, also as scales and biases of MLX's affine "
           "format ({})",
           tensor.name, dtype_name(tensor.dtype), folder_);
    }
    fail(Code::kUnsupported,
         "tensor {} is {}: BF16, F16 and F32 weights can be quantized; give the "
         "original, unquantized model ({})",
         tensor.name, dtype_name(tensor.dtype), folder_);
  }

  std::string next_step(const std::string& missing) const {
    const auto at = place_.located.find(missing);
    if (at != place_.located.end()) {
      return fmt::format("; the index says that {} has it{}", printable(at->second),
                         place_.fetch.empty() ? ": fetch the files again" : place_.fetch);
    }
    if (!place_.fetch.empty()) return place_.fetch;
    return tensors_.empty() ? ""
                            : "; the files begin with " + printable(tensors_.front().info.name);
  }

  bool has_bias(Bias bias) const {
    return bias == Bias::kAlways || (bias == Bias::kIfAttentionBias && config_.attention_bias) ||
           (bias == Bias::kIfMlpBias && config_.mlp_bias);
  }

  void drop_or_refuse_the_rest(const std::vector<std::string>& heads) {
    for (size_t i = 0; i < tensors_.size(); ++i) {
      if (used_[i]) continue;
      const std::string& name = tensors_[i].info.name;
      const bool tied_head =
          table_.tied && std::find(heads.begin(), heads.end(), name) != heads.end();
      if (!is_derived_tensor(name) && !tied_head) {
        fail(Code::kUnsupported,
             "tensor {} has no place in a {} of {} layers as config.json describes "
             "it: mlx_lm would not load it; remove it or correct config.json ({})",
             printable(name), config_.model.model_type, config_.model.layers.size(), folder_);
      }
      table_.dropped.push_back(static_cast<int>(i));
    }
  }

  static std::string tensor_name(const NamedSource& source, int layer, int64_t expert) {
    return with_number(with_number(source.name, "{l}", layer), "{e}", expert);
  }

  /// The first that exists, else the first.
  std::string bias_name(const ModuleRow& row, int layer) const {
    std::string first;
    for (const std::string_view path : file_paths(*config_.family, row.module)) {
      std::string name = with_number(path, "{l}", layer) + ".bias";
      if (find(name) >= 0) return name;
      if (first.empty()) first = std::move(name);
    }
    return first;
  }

  const TensorInfo& info(int tensor) const { return tensors_.at(static_cast<size_t>(tensor)).info; }

  int find(std::string_view name) const {
    const auto at = std::lower_bound(
        tensors_.begin(), tensors_.end(), name,
        [](const SourceTensor& tensor, std::string_view key) { return tensor.info.name < key; });
    return at != tensors_.end() && at->info.name == name ? static_cast<int>(at - tensors_.begin())
                                                         : -1;
  }

  const ParsedConfig& config_;
  const std::vector<SourceTensor>& tensors_;
  const TablePlace& place_;
  const std::string& folder_;
  std::vector<bool> used_;
  UnitTable table_;
};

/// Names that only quantized checkpoints have, and which programs write them; MLX's first.
void refuse_quantized_tensors(const StoredFormats& stored, const std::vector<SourceTensor>& tensors,
                              const std::string& folder) {
  struct Mark {
    std::string_view ending;
    std::string_view who;
  };
  static constexpr std::array<Mark, 8> kMarks = {{{".scales", "MLX"},
                                                  {".qweight", "GPTQ or AWQ"},
                                                  {".qzeros", "GPTQ or AWQ"},
                                                  {".weight_scale_inv", "FP8 blocks"},
                                                  {".weight_scale", "FP8 or compressed-tensors"},
                                                  {".weight_packed", "compressed-tensors"},
                                                  {".absmax", "bitsandbytes"},
                                                  {".SCB", "bitsandbytes"}}};
  const bool refuses = stored.quantized() == Quantized::kRefuse;
  for (const SourceTensor& tensor : tensors) {
    for (const auto& [ending, who] : kMarks) {
      if (!tensor.info.name.ends_with(ending)) continue;
      if (ending == kMarks.front().ending && stored.any()) continue;
      if (ending == ".weight_scale_inv" && stored.fp8_blocks()) continue;
      fail(Code::kUnsupported, "tensor {} shows that the model is already quantized ({}): {} ({})",
           printable(tensor.info.name), who,
           refuses ? "give the original, unquantized model"
           : ending == kMarks.front().ending
               ? "config.json has no quantization that says which format"
               : "only unquantized weights and MLX's affine format are supported",
           folder);
    }
  }
}

}  // namespace

UnitTable build_units(const ParsedConfig& config, const std::vector<SourceTensor>& tensors,
                      const TablePlace& place) {
  refuse_quantized_tensors(config.stored, tensors, place.folder);
  return Builder(config, tensors, place).build();
}

}  // namespace ram

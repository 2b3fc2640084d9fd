// Walks the family's rows in the order of the model and takes each module's tensors; what is left
// over at the end is dropped by rule or refused. The first tensor that is missing ends the walk, so
// the work is bounded by the number of tensors.
#include "table.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ram/error.h"

namespace ram {
namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

/// "a.{l}.b" with the number in the place of the mark.
std::string with_number(std::string_view pattern, std::string_view mark, int64_t number) {
  const size_t at = pattern.find(mark);
  if (at == std::string_view::npos) return std::string(pattern);
  return fmt::format("{}{}{}", pattern.substr(0, at), number, pattern.substr(at + mark.size()));
}

class Builder {
 public:
  Builder(const ModelConfig& config, const std::vector<SourceTensor>& tensors,
          const std::string& folder)
      : config_(config), tensors_(tensors), folder_(folder), used_(tensors.size(), false) {}

  UnitTable build() {
    const bool has_head = find("lm_head.weight") >= 0;
    // Without a word in the config, transformers takes a head of its own and mlx_lm mostly not.
    table_.tied = config_.tied.value_or(!has_head && config_.family->may_be_tied);
    add_blocks(config_.family->before, -1);
    for (int64_t layer = 0; layer < config_.layers; ++layer) {
      add_blocks(config_.family->layer, static_cast<int>(layer));
    }
    add_blocks(config_.family->after, -1);
    drop_or_refuse_the_rest();
    return std::move(table_);
  }

 private:
  void add_blocks(const std::vector<std::span<const ModuleRow>>& blocks, int layer) {
    for (const auto& block : blocks) {
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
        return !config_.expert_layer.at(static_cast<size_t>(layer));
      case When::kExpertLayer:
        return config_.expert_layer.at(static_cast<size_t>(layer));
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
    const std::string own = unit.tensor;
    const Source whole = {own, Layout::kWhole};
    const auto sources = row.sources.empty() ? std::span(&whole, 1) : row.sources;
    const auto present = std::find_if(sources.begin(), sources.end(), [&](const Source& source) {
      return find(tensor_name(source, layer, 0)) >= 0;
    });
    // Where none is there, taking the first names what is missing.
    take(present == sources.end() ? sources.front() : *present, row.kind, layer, unit);
    if (row.kind == Kind::kVector) {
      unit.shape = {unit.cols};
    } else if (row.kind == Kind::kMatrix) {
      unit.shape = {unit.rows, unit.cols};
    } else {
      unit.shape = {static_cast<int64_t>(unit.parts.size()), unit.rows, unit.cols};
    }
    if (has_bias(row.bias)) {
      const std::string name = unit.name + ".bias";
      unit.carried.push_back({take_tensor(name, {unit.rows}), name});
    }
    table_.units.push_back(std::move(unit));
  }

  /// Fills the unit's parts from one source. A new Layout is a case here.
  void take(const Source& source, Kind kind, int layer, Unit& unit) {
    const int64_t experts = config_.experts;
    const auto name = [&](int64_t expert) { return tensor_name(source, layer, expert); };
    const auto take_rows = [&](int tensor, int64_t count, int64_t stride, int64_t first) {
      for (int64_t i = 0; i < count; ++i) {
        unit.parts.push_back({tensor, Reshape::kRows, first + i * stride});
      }
    };
    switch (source.layout) {
      case Layout::kWhole: {
        std::vector<int64_t> shape = {unit.rows, unit.cols};
        if (kind == Kind::kVector) shape.erase(shape.begin());
        take_rows(take_tensor(name(0), shape), 1, 0, 0);
        break;
      }
      case Layout::kPerExpert:
        for (int64_t e = 0; e < experts; ++e) {
          take_rows(take_tensor(name(e), {unit.rows, unit.cols}), 1, 0, 0);
        }
        break;
      case Layout::kStacked:
        take_rows(take_tensor(name(0), {experts, unit.rows, unit.cols}), experts, unit.rows, 0);
        break;
      case Layout::kPackedFirst:
      case Layout::kPackedSecond: {
        const int tensor = take_tensor(name(0), {experts, 2 * unit.rows, unit.cols});
        const bool second = source.layout == Layout::kPackedSecond;
        take_rows(tensor, experts, 2 * unit.rows, second ? unit.rows : 0);
        break;
      }
    }
    const DType dtype = info(unit.parts.front().tensor).dtype;
    for (const Part& part : unit.parts) {
      if (info(part.tensor).dtype == dtype) continue;
      fail(Code::kUnsupported,
           "tensor {} is {} and {} is {}: experts of one projection must share "
           "one dtype ({})",
           info(part.tensor).name, dtype_name(info(part.tensor).dtype),
           info(unit.parts.front().tensor).name, dtype_name(dtype), folder_);
    }
    unit.dtype = dtype;
  }

  /// @return the index of a tensor that must be there with this shape and a weight dtype.
  int take_tensor(const std::string& name, const std::vector<int64_t>& shape) {
    const int index = find(name);
    if (index < 0) {
      fail(Code::kMissing, "tensor {} is missing: config.json of this {} calls for it ({}){}", name,
           config_.model_type, folder_, next_step());
    }
    const TensorInfo& tensor = info(index);
    if (!is_weight_dtype(tensor.dtype)) {
      fail(Code::kUnsupported,
           "tensor {} is {}: BF16, F16 and F32 weights can be quantized; give the "
           "original, unquantized model ({})",
           name, dtype_name(tensor.dtype), folder_);
    }
    if (tensor.shape != shape) {
      fail(Code::kCorrupt, "tensor {} has shape {}: config.json says {} ({})", name,
           shape_text(tensor.shape), shape_text(shape), folder_);
    }
    used_[static_cast<size_t>(index)] = true;
    return index;
  }

  std::string next_step() const {
    return tensors_.empty() ? ""
                            : "; the files begin with " + printable(tensors_.front().info.name);
  }

  bool has_bias(Bias bias) const {
    return bias == Bias::kAlways || (bias == Bias::kIfAttentionBias && config_.attention_bias) ||
           (bias == Bias::kIfMlpBias && config_.mlp_bias);
  }

  void drop_or_refuse_the_rest() {
    for (size_t i = 0; i < tensors_.size(); ++i) {
      if (used_[i]) continue;
      const std::string& name = tensors_[i].info.name;
      if (!is_derived_tensor(name) && !(table_.tied && name == "lm_head.weight")) {
        fail(Code::kUnsupported,
             "tensor {} has no place in a {} of {} layers as config.json describes "
             "it: mlx_lm would not load it; remove it or correct config.json ({})",
             printable(name), config_.model_type, config_.layers, folder_);
      }
      table_.dropped.push_back(static_cast<int>(i));
    }
  }

  std::string tensor_name(const Source& source, int layer, int64_t expert) const {
    return with_number(with_number(source.name, "{l}", layer), "{e}", expert);
  }

  const TensorInfo& info(int tensor) const { return tensors_.at(static_cast<size_t>(tensor)).info; }

  int find(std::string_view name) const {
    const auto at = std::lower_bound(
        tensors_.begin(), tensors_.end(), name,
        [](const SourceTensor& tensor, std::string_view key) { return tensor.info.name < key; });
    return at != tensors_.end() && at->info.name == name ? static_cast<int>(at - tensors_.begin())
                                                         : -1;
  }

  const ModelConfig& config_;
  const std::vector<SourceTensor>& tensors_;
  const std::string& folder_;
  std::vector<bool> used_;
  UnitTable table_;
};

/// Names that only quantized checkpoints have, and who writes them.
void refuse_quantized_tensors(const std::vector<SourceTensor>& tensors, const std::string& folder) {
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
  for (const SourceTensor& tensor : tensors) {
    for (const auto& [ending, who] : kMarks) {
      if (!tensor.info.name.ends_with(ending)) continue;
      fail(Code::kUnsupported,
           "tensor {} shows that the model is already quantized ({}): give the "
           "original, unquantized model ({})",
           printable(tensor.info.name), who, folder);
    }
  }
}

}  // namespace

UnitTable build_units(const ModelConfig& config, const std::vector<SourceTensor>& tensors,
                      const std::string& folder) {
  refuse_quantized_tensors(tensors, folder);
  return Builder(config, tensors, folder).build();
}

}  // namespace ram

// The model card of a finished folder: base model, licence, the plan by role, the command that
// makes it again.
#include <map>

#include <fmt/format.h>

#include "ram/size.h"

#include "assemble.h"

namespace ram {
namespace {

struct RoleRow {
  int64_t units = 0;
  int64_t weights = 0;
  int64_t bytes = 0;
  std::map<int, int> formats;  // position in kAffineFormats (kFormatCount: unquantized) -> units
};

std::string formats_text(const RoleRow& row, DType dtype) {
  std::string text;
  for (const auto& [index, units] : row.formats) {
    const UnitFormat format = index == kFormatCount
                                  ? UnitFormat{}
                                  : UnitFormat{kAffineFormats[static_cast<size_t>(index)]};
    text +=
        fmt::format("{}{} ({})", text.empty() ? "" : ", ", unit_format_name(format, dtype), units);
  }
  return text;
}

// Quoted where YAML could take the text for something else.
std::string yaml_text(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return quoted + "\"";
}

}  // namespace

std::string render_readme(const Checkpoint& checkpoint, const Plan& plan) {
  std::map<Role, RoleRow> rows;
  for (size_t u = 0; u < plan.units.size(); ++u) {
    RoleRow& row = rows[checkpoint.units[u].role];
    ++row.units;
    row.weights += plan.units[u].weights;
    row.bytes += plan.units[u].bytes;
    ++row.formats[plan.units[u].format ? format_index(*plan.units[u].format) : kFormatCount];
  }
  std::string table =
      "| role | units | weights | bits per weight | bytes | formats (units) "
      "|\n|---|---|---|---|---|---|\n";
  for (const auto& [role, row] : rows) {
    const double bits =
        row.weights > 0 ? 8.0 * static_cast<double>(row.bytes) / static_cast<double>(row.weights)
                        : 0;
    table += fmt::format("| {} | {} | {} | {:.2f} | {} | {} |\n", role_name(role), row.units,
                         row.weights, bits, row.bytes, formats_text(row, plan.dtype));
  }
  const std::string licence =
      checkpoint.licence.empty() ? "" : fmt::format("license: {}\n", yaml_text(checkpoint.licence));
  return fmt::format(
      "---\nlibrary_name: mlx\nbase_model: {}\nbase_model_relation: quantized\n{}pipeline_tag: "
      "text-generation\n"
      "tags:\n- mlx\n- quantized\n---\n\n"
      "# {} at {:.2f} bits per weight\n\n"
      "Made from {} by ram {}: mixed-precision MLX affine quantization, without calibration data. "
      "Each group of "
      "weights has the number format that the budget serves best; `plan.json` says which and "
      "why.\n\n"
      "- size of this folder: {} bytes (budget {})\n"
      "- loss of the plan ({}): {:.6g}; no plan of this size has less than {:.6g}\n"
      "- unquantized tensors, scales and biases: {}\n\n{}\n"
      "Run it with mlx_lm:\n\n    mlx_lm.generate --model . --prompt \"Hello\"\n\n"
      "Make it again:\n\n    ram fit {} {} -o OUT\n",
      yaml_text(plan.model_name), licence, plan.model_name, plan.bits_per_weight, plan.model_name,
      RAM_VERSION, plan.total_bytes, plan.budget_bytes, method_name(plan.method), plan.objective,
      plan.lower_bound, weight_dtype_name(plan.dtype), table, plan.model_name,
      request_options(plan.request));
}

}  // namespace ram

// ram inspect: what a model is made of. Reads headers and, if there is one, the study; measures
// nothing and creates nothing.
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "ram/mlx_layout.h"
#include "ram/size.h"

#include "commands.h"
#include "model.h"
#include "planning.h"
#include "table.h"

namespace ram::cli {
namespace {

struct Options {
  std::string model;
};

// Before anything is measured: 3 bits at the largest group size that divides the rows, which is the
// cheapest format that passes 9 dB on weights of every usual distribution, and room for plan.json
// (about 200 bytes per unit) and README.md.
// @source reference-method.md, "Reference values": 2 bits lose 8.1 dB at best, 3 bits 14.3 dB
int64_t estimate_min_safe(const Checkpoint& checkpoint, const std::set<Role>& keep) {
  constexpr int64_t kPlanBytesPerUnit = 200;
  constexpr int64_t kReadmeBytes = 4096;
  std::vector<UnitFormat> formats;
  for (const Unit& unit : checkpoint.units) {
    UnitFormat format;
    if (unit.quantizable && !keep.contains(unit.role)) {
      for (const int group : {32, 64, 128}) {
        if (unit.cols % group == 0) format = AffineFormat{.bits = 3, .group_size = group};
      }
    }
    formats.push_back(format);
  }
  return layout_folder(checkpoint, formats, checkpoint.default_dtype()).total_bytes() +
         static_cast<int64_t>(formats.size()) * kPlanBytesPerUnit + kReadmeBytes;
}

std::optional<int64_t> known_min_safe(const Common& common, const Checkpoint& checkpoint) {
  std::optional<Study> study = open_existing_study(common);
  if (!study) return std::nullopt;
  const AnalyzeOptions options = {.encoder = Encoder::kMlx, .dtype = checkpoint.default_dtype()};
  const std::optional<ModelCurves> curves = known_curves(checkpoint, *study, options);
  if (!curves) return std::nullopt;
  PlanRequest request;
  request.dtype = options.dtype;
  return min_safe_bytes({checkpoint, *curves, nullptr}, request);
}

bool is_kept(const Unit& unit, const std::set<Role>& keep) {
  return !unit.quantizable || keep.contains(unit.role) || formats_for_cols(unit.cols) == 0;
}

Json inspect_json(const Checkpoint& checkpoint, const std::set<Role>& keep) {
  Json units = Json::array();
  for (const Unit& unit : checkpoint.units) {
    units.push_back({{"name", unit.name},
                     {"role", role_name(unit.role)},
                     {"weights", unit.weights()},
                     {"shape", unit.shape},
                     {"tensors", unit.parts.size()},
                     {"kept", is_kept(unit, keep)}});
  }
  return {{"name", checkpoint.name},
          {"folder", checkpoint.folder.string()},
          {"model_type", checkpoint.model_type},
          {"layers", checkpoint.layers},
          {"dtype", weight_dtype_name(checkpoint.default_dtype())},
          {"weights", checkpoint.weights()},
          {"bytes", checkpoint.bytes()},
          {"units", std::move(units)}};
}

std::string inspect_table(const Checkpoint& checkpoint, const std::set<Role>& keep) {
  struct Row {
    int64_t units = 0;
    int64_t tensors = 0;
    int64_t weights = 0;
    int64_t bytes = 0;
    int64_t kept = 0;
  };
  std::array<Row, kRoleCount> rows;
  for (const Unit& unit : checkpoint.units) {
    Row& row = rows[static_cast<size_t>(unit.role)];
    row.units += 1;
    row.tensors += static_cast<int64_t>(unit.parts.size());
    row.weights += unit.weights();
    row.bytes += unit.weights() * dtype_bits(unit.dtype) / 8;
    row.kept += is_kept(unit, keep) ? 1 : 0;
  }
  Table table({{"role", Align::kLeft},
               {"units"},
               {"tensors"},
               {"weights"},
               {"bytes"},
               {"share"},
               {"kept", Align::kLeft}});
  for (int r = 0; r < kRoleCount; ++r) {
    const Row& row = rows[static_cast<size_t>(r)];
    if (row.units == 0) continue;
    const double share =
        100.0 * static_cast<double>(row.bytes) / static_cast<double>(checkpoint.bytes());
    const std::string kept = row.kept == 0           ? "no"
                             : row.kept == row.units ? "yes"
                                                     : fmt::format("{} of {}", row.kept, row.units);
    table.add({std::string(role_name(static_cast<Role>(r))), std::to_string(row.units),
               std::to_string(row.tensors), std::to_string(row.weights), std::to_string(row.bytes),
               fmt::format("{:.2f} %", share), kept});
  }
  return table.render();
}

int inspect(const Common& common, const Options& options) {
  const Checkpoint checkpoint = Checkpoint::open(options.model);
  const std::set<Role> keep = PlanRequest().keep;
  const std::optional<int64_t> known = known_min_safe(common, checkpoint);
  const int64_t estimate = known ? 0 : estimate_min_safe(checkpoint, keep);
  if (common.json) {
    Json document = inspect_json(checkpoint, keep);
    document["min_safe_bytes"] = known ? Json(*known) : Json(nullptr);
    if (!known) document["min_safe_bytes_estimate"] = estimate;
    print_result(common, document.dump(2) + "\n");
    return kDone;
  }
  std::string text =
      fmt::format("{}: {}, {} layers, {} weights, {} bytes ({})\n\n", checkpoint.name,
                  checkpoint.model_type, checkpoint.layers, checkpoint.weights(),
                  checkpoint.bytes(), format_bytes(checkpoint.bytes()));
  text += inspect_table(checkpoint, keep);
  if (known) {
    text += fmt::format("\nsmallest safe folder: {} bytes ({})\n", *known, format_bytes(*known));
  } else {
    text += fmt::format(
        "\nsmallest safe folder: about {} (a rough estimate; ram analyze {} measures it)\n",
        format_bytes(estimate), options.model);
  }
  print_result(common, text);
  return kDone;
}

}  // namespace

Action setup_inspect(Arguments app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("MODEL", options->model, "folder or repository id").type_name("").required();
  return [options, &common] { return inspect(common, *options); };
}

}  // namespace ram::cli

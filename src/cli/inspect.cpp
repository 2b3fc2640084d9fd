// ram inspect: the content of a model or a finished folder, and what to do with it next. Reads
// headers and, if there is one, the study; measures nothing and creates nothing.
#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <system_error>

#include <fmt/format.h>

#include "ram/size.h"
#include "ram/study_place.h"
#include "ram/table.h"
#include "ram/text.h"
#include "ram/what_if_json.h"

#include "commands.h"
#include "model.h"
#include "planning.h"

namespace ram::cli {
namespace {

struct InspectArguments {
  std::string model;
};

std::optional<int64_t> known_min_safe(const Common& common, const Checkpoint& checkpoint) {
  std::optional<Study> study = open_study_if_usable(common);
  if (!study) return std::nullopt;
  const AnalyzeOptions options = {.encoder = Encoder::kMlx, .dtype = checkpoint.default_dtype()};
  const std::optional<ModelCurves> curves = known_curves(checkpoint, *study, options);
  if (!curves) return std::nullopt;
  return default_min_safe_bytes(checkpoint, *curves);
}

std::string inspect_table(const Checkpoint& checkpoint, const std::set<Role>& keep, bool finished) {
  struct Row {
    int64_t units = 0;
    int64_t tensors = 0;
    int64_t weights = 0;
    int64_t bytes = 0;
    int64_t kept = 0;
    std::map<std::string, int64_t> formats;
  };
  std::array<Row, kRoleCount> rows;
  for (const Unit& unit : checkpoint.units) {
    Row& row = rows[static_cast<size_t>(unit.role)];
    row.units += 1;
    row.tensors += static_cast<int64_t>(unit.parts.size());
    row.weights += unit.weights();
    row.bytes += checkpoint.stored_bytes(unit);
    row.kept += is_kept(unit, keep) ? 1 : 0;
    row.formats[unit_format_name(unit.stored, unit.dtype)] += 1;
  }
  Table table({{"role", Align::kLeft},
               {"units"},
               {"tensors"},
               {"weights"},
               {"bytes"},
               {"share"},
               {finished ? "formats" : "kept", Align::kLeft}});
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
               fmt::format("{:.2f} %", share),
               finished ? formats_cell(row.formats, row.formats.size()) : kept});
  }
  return table.render();
}

std::string head_line(const Checkpoint& checkpoint, bool finished) {
  const double bits = 8.0 * static_cast<double>(checkpoint.bytes()) /
                      static_cast<double>(std::max<int64_t>(1, checkpoint.weights()));
  return fmt::format("{}: {}, {} layers, {} weights, {} bytes ({}{})\n\n", checkpoint.name,
                     checkpoint.model_type, checkpoint.layers, checkpoint.weights(),
                     checkpoint.bytes(), format_bytes(checkpoint.bytes()),
                     finished ? fmt::format(", {:.2f} bits per weight", bits) : "");
}

int inspect_finished(const Common& common, const Checkpoint& checkpoint,
                     const InspectArguments& options) {
  if (common.json) {
    print_document(common, model_json(checkpoint, {}));
    return kDone;
  }
  std::string text = head_line(checkpoint, true) + inspect_table(checkpoint, {}, true);
  text += tokenizer_line(checkpoint);
  text += "\nIt is already quantized: it can be run and measured, but not fitted again.\n\nnext:\n";
  std::error_code error;
  if (std::filesystem::is_regular_file(checkpoint.folder / "plan.json", error)) {
    text += fmt::format("  ram verify {0}\n  ram explain {0}\n", shell_word(options.model));
  }
  text += fmt::format(
      "  ram generate {0} --prompt \"Hello\"\n"
      "  ram perplexity {0} --text FILE\n",
      shell_word(options.model));
  print_result(common, text);
  return kDone;
}

int inspect(const Common& common, const InspectArguments& options) {
  const Checkpoint checkpoint = open_source(common, options.model, Quantized::kAccept);
  if (checkpoint.is_quantized()) return inspect_finished(common, checkpoint, options);
  const std::set<Role> keep = PlanRequest().keep;
  const std::optional<int64_t> known = known_min_safe(common, checkpoint);
  const int64_t estimate = known ? 0 : estimate_min_safe_bytes(checkpoint, keep);
  if (common.json) {
    Json document = model_json(checkpoint, keep);
    document["min_safe_bytes"] = known ? Json(*known) : Json(nullptr);
    if (!known) document["min_safe_bytes_estimate"] = estimate;
    print_document(common, document);
    return kDone;
  }
  std::string text = head_line(checkpoint, false) + inspect_table(checkpoint, keep, false);
  if (known) {
    text += fmt::format("\nsmallest safe folder: {} bytes ({})\n", *known, format_bytes(*known));
  } else {
    text += fmt::format(
        "\nsmallest safe folder: about {} (a rough estimate; ram analyze {} measures it)\n",
        format_bytes(estimate), shell_word(options.model));
  }
  text += tokenizer_line(checkpoint);
  // A size to start from, between the smallest safe one and the source.
  const int64_t third = std::max(known.value_or(estimate), checkpoint.bytes() / 3);
  text += fmt::format("\nnext:\n  ram fit {} --budget {} -o OUT\n", shell_word(options.model),
                      format_typed_bytes(third));
  print_result(common, text);
  return kDone;
}

}  // namespace

Action setup_inspect(Arguments app, const Common& common) {
  auto options = std::make_shared<InspectArguments>();
  app.add_option("MODEL", options->model, "folder or repository id").type_name("").required();
  return [options, &common] { return inspect(common, *options); };
}

}  // namespace ram::cli

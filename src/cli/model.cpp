// Opening, measuring and showing models and plans.
#include "model.h"

#include <algorithm>
#include <cmath>
#include <new>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/json_text.h"
#include "ram/size.h"
#include "ram/table.h"
#include "ram/tokenizer.h"
#include "ram/what_if.h"

#include "engine_options.h"

namespace ram::cli {

namespace fs = std::filesystem;

namespace {

constexpr size_t kFormatsShown = 4;

// A KL if the plan's loss is one, else its ratio to the loss of a uniform format of similar size:
// the loss of other methods has no scale.
std::string quality_line(const Plan& plan, const std::optional<UniformBeside>& beside) {
  if (nothing_quantized(plan)) {
    return fmt::format("{:<18}none: the model fits unquantized\n", "loss");
  }
  if (plan.method == Method::kUniform) {
    return fmt::format("{:<18}{}\n", "loss", optimality(plan));
  }
  const std::string name = beside ? fmt::format("uniform {} ({})", format_name(beside->format),
                                                format_bytes(beside->total_bytes))
                                  : "";
  if (plan.method == Method::kMeasured) {
    const std::string other = beside ? fmt::format(" ({}: {:.3g})", name, beside->loss) : "";
    return fmt::format("{:<18}{:.3g} nats per token{}; {}\n", "predicted KL", plan.objective, other,
                       optimality(plan));
  }
  if (!beside) {
    return fmt::format("{:<18}{:.4g} ({}; no uniform format to compare with); {}\n", "loss",
                       plan.objective, method_name(plan.method), optimality(plan));
  }
  if (beside->loss <= 0) {
    return fmt::format("{:<18}{:.4g}, and {} loses nothing; {}\n", "loss", plan.objective, name,
                       optimality(plan));
  }
  return fmt::format("{:<18}{:.3g} times that of {}; {}\n", "loss", plan.objective / beside->loss,
                     name, optimality(plan));
}

}  // namespace

Checkpoint open_source(const Common& common, const std::string& model, Quantized quantized) {
  Checkpoint checkpoint = Checkpoint::open(model, quantized);
  for (const std::string& text : checkpoint.notes) note(common, text);
  std::error_code error;
  if (!fs::is_regular_file(checkpoint.folder / "tokenizer.json", error)) return checkpoint;
  try {
    const Tokenizer tokenizer = Tokenizer::open(checkpoint.folder);
    if (tokenizer.id_end() > checkpoint.config.vocab) {
      note(common, fmt::format("tokenizer.json has ids up to {}, but config.json's vocabulary ends "
                               "at {}: a text that needs the others cannot be read",
                               tokenizer.id_end() - 1, checkpoint.config.vocab - 1));
    }
  } catch (const Error&) {
    // The file is carried unchanged; the code that uses it reports what is wrong.
  } catch (const std::bad_alloc&) {
    // It is only inspected here: the code that needs it allocates the memory again.
  }
  return checkpoint;
}

std::string tokenizer_line(const Checkpoint& checkpoint) {
  if (checkpoint.has_tokenizer()) return "";
  return fmt::format(
      "{:<18}none in the source: mlx_lm runs the folder only with tokenizer.json and "
      "tokenizer_config.json in it\n",
      "tokenizer");
}

Curves measure_for(const Common& common, const Checkpoint& checkpoint, Study& study, Method method,
                   DType dtype, bool rehash) {
  ProgressLine line(common);
  return measure_curves_for(checkpoint, study, method, dtype, rehash, threads(common),
                            line.function());
}

std::string formats_cell(const std::map<std::string, int64_t>& formats, size_t most) {
  std::vector<std::pair<std::string, int64_t>> sorted(formats.begin(), formats.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::string text;
  for (size_t i = 0; i < std::min(sorted.size(), most); ++i) {
    text += fmt::format("{}{} x{}", i > 0 ? ", " : "", sorted[i].first, sorted[i].second);
  }
  if (sorted.size() > most) {
    text += fmt::format(", {} more", sorted.size() - most);
  }
  return text;
}

std::string plan_table(const Checkpoint& checkpoint, const Plan& plan) {
  const std::map<Role, RoleShare> shares = role_shares(checkpoint, plan);
  Table table({{"role", Align::kLeft},
               {"units"},
               {"weights"},
               {"bytes"},
               {"bits/weight"},
               {"formats", Align::kLeft}});
  const auto add = [&table](std::string name, const RoleShare& share, std::string formats) {
    table.add({std::move(name), std::to_string(share.units), std::to_string(share.weights),
               std::to_string(share.bytes), fmt::format("{:.3f}", share.bits_per_weight()),
               std::move(formats)});
  };
  RoleShare all;
  for (const auto& [role, share] : shares) {
    add(std::string(role_name(role)), share, formats_cell(share.formats, kFormatsShown));
    all.units += share.units;
    all.weights += share.weights;
    all.bytes += share.bytes;
  }
  add("all", all, "");
  return table.render();
}

std::string plan_summary(const Plan& plan, const std::optional<UniformBeside>& beside) {
  std::string text = fmt::format("{:<18}{} ({})\n", "finished folder", plan.total_bytes,
                                 format_bytes(plan.total_bytes));
  if (plan.request.bits_per_weight) {
    text += fmt::format("{:<18}at most {:g} bits per weight\n", "asked for",
                        *plan.request.bits_per_weight);
  } else if (plan.method != Method::kUniform) {
    const int64_t rest = plan.budget_bytes - plan.total_bytes;
    text += fmt::format("{:<18}{} ({}), {} {}\n", "asked for", plan.budget_bytes,
                        format_bytes(plan.budget_bytes), std::abs(rest),
                        rest >= 0 ? "unused" : "bytes too many");
  }
  text += fmt::format("{:<18}{:.4f}\n", "bits per weight", plan.bits_per_weight);
  return text + quality_line(plan, beside);
}

std::string outcome_text(BuildOutcome outcome, const fs::path& out) {
  return outcome == BuildOutcome::kWritten
             ? fmt::format("written to {}", out.string())
             : fmt::format("{} is already exactly this; nothing was touched", out.string());
}

}  // namespace ram::cli

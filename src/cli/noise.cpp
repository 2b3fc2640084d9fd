// ram noise: Gaussian noise of the same size as a plan's errors, unit by unit, in the place of
// these errors. If it does as much harm, only the size of an error matters; if it does more, the
// encoder puts its errors where they matter less.
#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "ram/calibrate.h"
#include "ram/error.h"

#include "calibration.h"
#include "commands.h"
#include "engine_options.h"
#include "evaluation.h"
#include "model.h"
#include "table.h"

namespace ram::cli {

namespace {

struct Options {
  std::string model;
  std::string folder;
  int seeds = 5;
  TextArguments text;
};

struct Drawn {
  double kl = 0;         // nats per token
  double delta_nll = 0;  // the same, disturbed minus original
};

struct Spread {
  double mean = 0;
  double deviation = 0;
};

Spread spread_of(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  Spread spread{.mean = std::accumulate(values.begin(), values.end(), 0.0) / count};
  for (const double value : values) spread.deviation += std::pow(value - spread.mean, 2);
  spread.deviation = std::sqrt(spread.deviation / (count - 1));
  return spread;
}

std::vector<double> errors_of(const Checkpoint& checkpoint, const Plan& plan,
                              const std::string& folder) {
  if (plan.units.size() != checkpoint.units.size()) {
    fail(Code::kUsage, "{}: its plan is of another model than {}", folder, checkpoint.name);
  }
  std::vector<double> relative;
  for (size_t u = 0; u < plan.units.size(); ++u) {
    if (plan.units[u].name != checkpoint.units[u].name) {
      fail(Code::kUsage, "{}: its plan is of another model than {}", folder, checkpoint.name);
    }
    relative.push_back(plan.units[u].format ? plan.units[u].nrmse : 0);
  }
  return relative;
}

/// Draws noise once per seed and takes the text's rows through it.
/// @param original loss of the undisturbed model on them, nats in all.
std::vector<Drawn> draw_noise(const Common& common, const Options& options,
                              const std::vector<double>& relative, const TextRows& text,
                              double original) {
  LanguageModel model = open_language_model(options.model, engine_options(common, "f32"));
  const auto at_once =
      static_cast<size_t>(std::max<int64_t>(1, model.rows_at_once(text.length) / 4));
  const auto tokens = static_cast<double>(text.scored_tokens());
  std::vector<Drawn> drawn;
  ProgressLine line(common);
  const ProgressFn progress = line.function();
  for (int seed = 0; seed < options.seeds; ++seed) {
    double kl = 0;
    double nll = 0;
    const std::span<const TokenRow> all = text.rows;
    for (size_t begin = 0; begin < all.size();) {
      const size_t count = std::min(at_once, all.size() - begin);
      const NoiseResult result = run_with_noise(model, relative, all.subspan(begin, count),
                                                common.seed + static_cast<uint64_t>(seed));
      for (const double value : result.row_kl) kl += value;
      for (const double value : result.row_nll) nll += value;
      begin += count;
    }
    drawn.push_back({.kl = kl / tokens, .delta_nll = (nll - original) / tokens});
    progress(
        {.phase = "noise", .done_bytes = seed + 1, .total_bytes = options.seeds, .unit = "seeds"});
  }
  return drawn;
}

std::string noise_document(const Options& options, const Comparison& comparison,
                           const std::vector<double>& kls, const std::vector<double>& deltas) {
  const ComparedModel& stored = comparison.models.front();
  const Spread kl = spread_of(kls);
  const Spread delta = spread_of(deltas);
  const Json document = {
      {"model", comparison.reference.model.name},
      {"folder", options.folder},
      {"seeds", options.seeds},
      {"rows", comparison.text.rows.size()},
      {"quantized",
       {{"kl", stored.divergence.mean}, {"delta_nll", stored.against_reference.difference.delta}}},
      {"noise",
       {{"kl", kls},
        {"kl_mean", kl.mean},
        {"kl_sd", kl.deviation},
        {"delta_nll", deltas},
        {"delta_nll_mean", delta.mean},
        {"delta_nll_sd", delta.deviation}}}};
  return document.dump(2) + "\n";
}

std::string noise_text(const Options& options, const Comparison& comparison,
                       const std::vector<double>& kls, const std::vector<double>& deltas) {
  const ComparedModel& stored = comparison.models.front();
  const Spread kl = spread_of(kls);
  const Spread delta = spread_of(deltas);
  Table table({{"", Align::kLeft}, {"KL"}, {"mean NLL"}});
  table.add({"what is stored", fmt::format("{:.3g}", stored.divergence.mean),
             fmt::format("{:+.3g}", stored.against_reference.difference.delta)});
  table.add({fmt::format("noise, mean of {} seeds", options.seeds), fmt::format("{:.3g}", kl.mean),
             fmt::format("{:+.3g}", delta.mean)});
  table.add({"standard deviation", fmt::format("{:.2g}", kl.deviation),
             fmt::format("{:.2g}", delta.deviation)});
  return text_line(options.text, comparison.text) + "\n\n" + table.render() +
         fmt::format(
             "\nThe errors that are stored do {:.2f} times the harm of noise of their size "
             "(KL).\n",
             stored.divergence.mean / kl.mean);
}

int noise(const Common& common, const Options& options) {
  if (options.seeds < 2 || options.seeds > 1000) {
    fail(Code::kUsage, "--seeds {}: use 2 to 1000", options.seeds);
  }
  const RowOptions rows = row_options(common, options.text);
  const Plan plan = read_plan(options.folder);
  const std::vector<double> relative =
      errors_of(Checkpoint::open(options.model), plan, options.folder);
  Study study = open_study(common, fmt::format("noise --seeds {}", options.seeds));
  const std::vector<std::string> models = {options.model, options.folder};
  refuse_overlap(models, options.text.text, study);
  Comparison comparison;
  {
    ProgressLine line(common);
    comparison = compare_models(models, options.text.text, rows, common.seed,
                                engine_options(common, "f32"), study, line.function());
  }
  double original = 0;
  for (const RowScore& row : comparison.reference.rows) original += row.nll_sum;
  std::vector<double> kls;
  std::vector<double> deltas;
  for (const Drawn& one : draw_noise(common, options, relative, comparison.text, original)) {
    kls.push_back(one.kl);
    deltas.push_back(one.delta_nll);
  }
  print_result(common, common.json ? noise_document(options, comparison, kls, deltas)
                                   : noise_text(options, comparison, kls, deltas));
  return kDone;
}

}  // namespace

Action setup_noise(CLI::App& app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("MODEL", options->model, "the original")->type_name("MODEL")->required();
  app.add_option("OUT", options->folder, "a folder that was made from it")
      ->type_name("OUT")
      ->required();
  app.add_option("--seeds", options->seeds, "how many draws (default 5)")->type_name("N");
  add_text_options(app, options->text);
  return [options, &common] { return noise(common, *options); };
}

}  // namespace ram::cli

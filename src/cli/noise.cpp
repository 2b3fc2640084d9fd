// ram noise: Gaussian noise of the same size as a plan's errors, unit by unit, in the place of
// these errors. If it does as much harm, only the size of an error matters; if it does more, the
// encoder puts its errors where they matter less.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "ram/calibrate.h"
#include "ram/error.h"
#include "ram/progress.h"
#include "ram/random.h"
#include "ram/statistics.h"

#include "calibration.h"
#include "commands.h"
#include "engine_options.h"
#include "evaluation.h"
#include "model.h"
#include "noise_verdict.h"
#include "table.h"

namespace ram::cli {

namespace {

struct Options {
  std::string model;
  std::string folder;
  int seeds = 5;
  TextArguments text;
};

constexpr struct {
  const char* key;
  double Harm::*value;
} kMeasures[] = {{"kl", &Harm::kl},
                 {"delta_nll", &Harm::delta_nll},
                 {"mean_perplexity", &Harm::mean},
                 {"median_perplexity", &Harm::median}};

/// What a noise experiment amounts to.
struct Findings {
  Harm stored;
  std::vector<Harm> drawn;
  std::string verdict;
};

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

Harm harm_of(double kl, const Losses& losses, double original_nll) {
  const PerplexitySummary summary = summarize_perplexity(losses);
  return {.kl = kl,
          .delta_nll = std::log(summary.mean) - original_nll,
          .mean = summary.mean,
          .median = summary.median};
}

/// Draws noise once per seed and takes the text's rows through it.
/// @param original loss of the undisturbed model on them, nats per token.
/// @param source   the model, as it was when the original was scored.
std::vector<Harm> draw_noise(const Common& common, const Options& options, const Checkpoint& source,
                             const std::vector<double>& relative, const TextRows& text,
                             double original) {
  LanguageModel model = open_language_model(options.model, engine_options(common, "f32"));
  const auto at_once =
      static_cast<size_t>(std::max<int64_t>(1, model.rows_at_once(text.length) / 4));
  const std::vector<int64_t> tokens(text.rows.size(), text.length - 1);
  std::vector<Harm> drawn;
  ProgressLine line(common);
  const ProgressFn progress = line.function();
  for (int seed = 0; seed < options.seeds; ++seed) {
    double kl = 0;
    std::vector<double> nll;
    const std::span<const TokenRow> all = text.rows;
    for (size_t begin = 0; begin < all.size();) {
      const size_t count = std::min(at_once, all.size() - begin);
      const NoiseResult result =
          run_with_noise(model, relative, all.subspan(begin, count),
                         derived_seed(common.seed, static_cast<uint64_t>(seed)));
      for (const double value : result.row_kl) kl += value;
      nll.insert(nll.end(), result.row_nll.begin(), result.row_nll.end());
      begin += count;
    }
    source.check_unchanged();
    drawn.push_back(
        harm_of(kl / static_cast<double>(text.scored_tokens()), {nll, tokens}, original));
    if (!progress) continue;
    progress(
        {.phase = "noise", .done_bytes = seed + 1, .total_bytes = options.seeds, .unit = "seeds"});
  }
  return drawn;
}

Json noise_json(const Options& options, const Comparison& comparison, const Findings& findings) {
  Json stored;
  Json noise;
  for (const auto& [key, value] : kMeasures) {
    const Spread spread = spread_of(findings.drawn, value);
    stored[key] = findings.stored.*value;
    noise[key] = Json::array();
    for (const Harm& harm : findings.drawn) noise[key].push_back(harm.*value);
    noise[fmt::format("{}_mean", key)] = spread.mean;
    noise[fmt::format("{}_sd", key)] = spread.deviation;
  }
  return {{"model", comparison.reference.model.name},
          {"folder", options.folder},
          {"seeds", options.seeds},
          {"rows", comparison.text.rows.size()},
          {"quantized", stored},
          {"noise", noise},
          {"verdict", findings.verdict}};
}

std::string noise_text(const Options& options, const Comparison& comparison,
                       const Findings& findings) {
  Table table({{"", Align::kLeft}, {"KL"}, {"mean NLL"}, {"mean"}, {"median"}});
  const auto add = [&](const std::string& what, const auto& value) {
    table.add({what, fmt::format("{:.3g}", value(&Harm::kl)),
               fmt::format("{:+.3g}", value(&Harm::delta_nll)), four_digits(value(&Harm::mean)),
               four_digits(value(&Harm::median))});
  };
  add("what is stored", [&](double Harm::*value) { return findings.stored.*value; });
  add(fmt::format("noise, mean of {} seeds", options.seeds),
      [&](double Harm::*value) { return spread_of(findings.drawn, value).mean; });
  const auto deviation = [&](double Harm::*value) {
    return fmt::format("{:.2g}", spread_of(findings.drawn, value).deviation);
  };
  table.add({"standard deviation", deviation(&Harm::kl), deviation(&Harm::delta_nll),
             deviation(&Harm::mean), deviation(&Harm::median)});
  const double drawn = spread_of(findings.drawn, &Harm::kl).mean;
  return text_line(options.text, comparison.text) + "\n\n" + table.render() +
         fmt::format("\n{};\n{}.\n",
                     drawn > 0
                         ? fmt::format("The errors that are stored do {:.2f} times the harm of "
                                       "noise of their size (KL)",
                                       findings.stored.kl / drawn)
                         : "Noise of the size of the stored errors does no harm at all (KL)",
                     findings.verdict);
}

int noise(const Common& common, const Options& options) {
  if (options.seeds < 2 || options.seeds > 1000) {
    fail(Code::kUsage, "--seeds {}: use 2 to 1000", options.seeds);
  }
  const RowOptions rows = row_options(common, options.text);
  const Plan plan = read_plan(options.folder);
  // Both are opened anew below, more than once; at the end they must be what they were here.
  const Checkpoint source = Checkpoint::open(options.model);
  const Checkpoint folder = Checkpoint::open(options.folder, Quantized::kAccept);
  const std::vector<double> relative = errors_of(source, plan, options.folder);
  Study study = open_study(common, fmt::format("noise --seeds {}", options.seeds));
  const std::vector<std::string> models = {options.model, options.folder};
  refuse_overlap(models, options.text.text, study, notes_only(common));
  Comparison comparison;
  {
    ProgressLine line(common);
    comparison = compare_models(models, options.text.text, rows, common.seed,
                                engine_options(common, "f32"), study, line.function());
  }
  std::vector<double> sums;
  std::vector<int64_t> tokens;
  const ComparedModel& compared = comparison.models.front();
  const double original = std::log(comparison.reference.summary.mean);
  Findings findings;
  findings.stored =
      harm_of(compared.divergence.mean, compared.perplexity.losses(sums, tokens), original);
  findings.drawn = draw_noise(common, options, source, relative, comparison.text, original);
  findings.verdict = verdict_of(findings.stored, findings.drawn);
  source.check_unchanged();
  folder.check_unchanged();
  const Json document = noise_json(options, comparison, findings);
  study.put_document(
      {.kind = "noise", .key = compared.perplexity.model.digest, .text = document_text(document)});
  print_result(common,
               common.json ? document_text(document) : noise_text(options, comparison, findings));
  return kDone;
}

}  // namespace

Action setup_noise(Arguments app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("MODEL", options->model, "the original").type_name("").required();
  app.add_option("OUT", options->folder, "a folder that was made from it").type_name("").required();
  app.add_option("--seeds", options->seeds, "how many draws (default 5)").type_name("N");
  add_text_options(app, options->text);
  return [options, &common] { return noise(common, *options); };
}

}  // namespace ram::cli

// Gaussian noise in place of a folder's errors.
#include <algorithm>
#include <cmath>
#include <span>

#include "ram/calibrate.h"
#include "ram/engine.h"
#include "ram/error.h"
#include "ram/experiments.h"
#include "ram/progress.h"
#include "ram/random.h"

namespace ram {
namespace {

Harm harm_of(double kl, const Losses& losses, double original_nll) {
  const PerplexitySummary summary = summarize_perplexity(losses);
  return {.kl = kl,
          .delta_nll = std::log(summary.mean) - original_nll,
          .mean = summary.mean,
          .median = summary.median};
}

/// Draws noise once per seed and runs the text's rows through the disturbed model.
/// @param loss of the undisturbed model on these rows, nats per token.
/// @param original the model as it was when it was scored.
std::vector<Harm> draw_noise(const NoiseRequest& request, const Checkpoint& original,
                             const TextRows& text, double loss, const ProgressFn& progress) {
  LanguageModel model(Checkpoint::open(request.model, Quantized::kAccept),
                      request.scoring.resources.engine);
  const auto at_once =
      static_cast<size_t>(std::max<int64_t>(1, model.rows_at_once(text.length) / 4));
  const std::vector<int64_t> tokens(text.rows.size(), text.length - 1);
  std::vector<Harm> drawn;
  for (int seed = 0; seed < request.seeds; ++seed) {
    double kl = 0;
    std::vector<double> nll;
    const std::span<const TokenRow> all = text.rows;
    for (size_t begin = 0; begin < all.size();) {
      const size_t count = std::min(at_once, all.size() - begin);
      const NoiseResult result =
          run_with_noise(model, request.relative, all.subspan(begin, count),
                         derived_seed(request.scoring.seed, static_cast<uint64_t>(seed)));
      for (const double value : result.row_kl) kl += value;
      nll.insert(nll.end(), result.row_nll.begin(), result.row_nll.end());
      begin += count;
    }
    original.check_unchanged();
    drawn.push_back(harm_of(kl / static_cast<double>(text.scored_tokens()), {nll, tokens}, loss));
    if (!progress) continue;
    progress({.phase = "noise", .done = seed + 1, .total = request.seeds, .counted = "seeds"});
  }
  return drawn;
}

}  // namespace

std::vector<double> planned_errors(const Checkpoint& checkpoint, const Plan& plan,
                                   const std::string& folder) {
  const auto refuse = [&] {
    fail(Code::kUsage, "{}: its plan is for another model than {}", folder, checkpoint.name);
  };
  if (plan.units.size() != checkpoint.units.size()) refuse();
  std::vector<double> relative;
  for (size_t u = 0; u < plan.units.size(); ++u) {
    if (plan.units[u].name != checkpoint.units[u].name) refuse();
    relative.push_back(plan.units[u].format ? plan.units[u].nrmse : 0);
  }
  return relative;
}

NoiseExperiment measure_noise(const Checkpoint& original, const Checkpoint& folder, Study& study,
                              const NoiseRequest& request, const FitEvents& events) {
  const std::vector<std::string> models = {request.model, request.folder};
  refuse_overlap(models, request.scoring.text, study, events);
  NoiseExperiment found{
      .record = {},
      .comparison =
          compare_models(models, request.scoring.text, request.scoring.rows, request.scoring.seed,
                         request.scoring.resources.engine, study, events.progress)};
  std::vector<double> sums;
  std::vector<int64_t> tokens;
  const Comparison& comparison = found.comparison;
  const ComparedModel& compared = comparison.models.front();
  const double loss = std::log(comparison.reference.summary.mean);
  NoiseRecord& record = found.record;
  record.digest = compared.perplexity.model.digest;
  record.model = comparison.reference.model.name;
  record.folder = request.folder;
  record.rows = std::ssize(comparison.text.rows);
  record.stored = harm_of(compared.divergence.mean, compared.perplexity.losses(sums, tokens), loss);
  record.drawn = draw_noise(request, original, comparison.text, loss, events.progress);
  record.verdict = noise_verdict(record.stored, record.drawn);
  original.check_unchanged();
  folder.check_unchanged();
  study.put_document(record.document());
  return found;
}

}  // namespace ram

// ram noise: Gaussian noise of the same size as a plan's errors, unit by unit, in place of these
// errors. If it does as much harm, only the size of an error matters; if it does more, the encoder
// puts its errors where they matter less.
#include <fmt/format.h>

#include "ram/error.h"
#include "ram/experiments.h"
#include "ram/json_text.h"
#include "ram/results.h"
#include "ram/study_place.h"
#include "ram/table.h"

#include "calibration.h"
#include "commands.h"
#include "evaluation.h"
#include "model.h"

namespace ram::cli {
namespace {

struct NoiseArguments {
  std::string model;
  std::string folder;
  int seeds = 5;
  TextArguments text;
};

std::string noise_text(const NoiseArguments& options, const NoiseExperiment& found) {
  const NoiseRecord& record = found.record;
  Table table({{"", Align::kLeft}, {"KL"}, {"mean NLL"}, {"mean"}, {"median"}});
  const auto add = [&](const std::string& what, const auto& value) {
    table.add({what, fmt::format("{:.3g}", value(&Harm::kl)),
               fmt::format("{:+.3g}", value(&Harm::delta_nll)), four_digits(value(&Harm::mean)),
               four_digits(value(&Harm::median))});
  };
  add("stored errors", [&](double Harm::*value) { return record.stored.*value; });
  add(fmt::format("noise, mean of {} seeds", options.seeds),
      [&](double Harm::*value) { return spread_of(record.drawn, value).mean; });
  const auto deviation = [&](double Harm::*value) {
    return fmt::format("{:.2g}", spread_of(record.drawn, value).deviation);
  };
  table.add({"standard deviation", deviation(&Harm::kl), deviation(&Harm::delta_nll),
             deviation(&Harm::mean), deviation(&Harm::median)});
  const double drawn = spread_of(record.drawn, &Harm::kl).mean;
  return text_line(options.text, found.comparison.text) + "\n\n" + table.render() +
         fmt::format("\n{};\n{}.\n",
                     drawn > 0 ? fmt::format("The stored errors do {:.2f} times the harm of "
                                             "noise of their size (KL)",
                                             record.stored.kl / drawn)
                               : "Noise of the size of the stored errors does no harm at all (KL)",
                     record.verdict);
}

int noise(const Common& common, const NoiseArguments& options) {
  if (options.seeds < 2 || options.seeds > 1000) {
    fail(Code::kUsage, "--seeds {}: use 2 to 1000", options.seeds);
  }
  const RowOptions rows = row_options(common, options.text);
  const Plan plan = read_plan(options.folder);
  // Both are reopened below, more than once; at the end they must be unchanged.
  const Checkpoint source = Checkpoint::open(options.model);
  const Checkpoint folder = Checkpoint::open(options.folder, Quantized::kAccept);
  NoiseRequest request{.model = options.model,
                       .folder = options.folder,
                       .relative = planned_errors(source, plan, options.folder),
                       .seeds = options.seeds,
                       .scoring = {}};
  Study study = open_study(common, fmt::format("noise --seeds {}", options.seeds));
  request.scoring = scoring_request(common, options.text, rows);
  const NoiseExperiment found = [&] {
    const Reporter reporter(common);
    return measure_noise(source, folder, study, request, reporter.events());
  }();
  print_result(common, common.json ? json_text(found.record.json()) : noise_text(options, found));
  return kDone;
}

}  // namespace

Action setup_noise(Arguments app, const Common& common) {
  auto options = std::make_shared<NoiseArguments>();
  app.add_option("MODEL", options->model, "the original").type_name("").required();
  app.add_option("OUT", options->folder, "a folder that was made from it").type_name("").required();
  app.add_option("--seeds", options->seeds, "how many draws (default 5)").type_name("N");
  add_text_options(app, options->text);
  return [options, &common] { return noise(common, *options); };
}

}  // namespace ram::cli

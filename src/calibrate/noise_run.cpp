// A text through a model whose units are all disturbed, a layer's units at a time.
#include "ram/calibrate.h"
#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/eval.h"
#include "ram/scoped.h"
#include "ram/thread.h"

#include "units.h"

namespace ram {

NoiseResult run_with_noise(LanguageModel& model, std::span<const double> relative,
                           std::span<const TokenRow> rows, uint64_t seed) {
  const Checkpoint& checkpoint = model.checkpoint();
  RAM_CHECK(relative.size() == checkpoint.units.size());
  ThreadPool pool(model.options().threads);
  // Embedding and head are disturbed in a second model, so that the original's logits can still be
  // computed.
  LanguageModel twin = twin_of(model);
  const auto units_of = [&](int layer) {
    std::vector<int> units;
    for (size_t u = 0; u < relative.size(); ++u) {
      if (checkpoint.units[u].layer == layer && relative[u] > 0) {
        units.push_back(static_cast<int>(u));
      }
    }
    return units;
  };
  const auto disturb = [&](LanguageModel& which, const std::vector<int>& units) {
    for (const int unit : units) {
      check_interrupted();
      const double size = relative[static_cast<size_t>(unit)];
      which.set_unit(unit, noisy_rows(checkpoint, unit, size, noise_seed(seed, unit, 0), pool));
    }
  };
  disturb(twin, units_of(-1));  // which goes as it is
  HiddenRows base = model.embed(rows);
  HiddenRows noisy = twin.embed(rows);
  for (int layer = 0; layer < model.layers(); ++layer) {
    model.run_layers(base, layer, layer + 1);
    const std::vector<int> units = units_of(layer);
    const AtScopeExit restore([&] {
      for (const int unit : units) model.restore_unit(unit);
    });
    disturb(model, units);
    model.run_layers(noisy, layer, layer + 1);
  }
  const std::vector<LogitSource> sources = {{.model = &model, .hidden = &base},
                                            {.model = &twin, .hidden = &noisy}};
  RowSums sums = row_sums(rows, sources);
  return {.row_kl = std::move(sums.kl.front()), .row_nll = std::move(sums.nll[1])};
}

}  // namespace ram

// A text through a model whose units are all disturbed, a layer's units at a time.
#include "ram/calibrate.h"
#include "ram/error.h"
#include "ram/eval.h"
#include "ram/scoped.h"

#include "units.h"

namespace ram {

NoiseResult run_with_noise(LanguageModel& model, std::span<const double> relative,
                           std::span<const TokenRow> rows, uint64_t seed) {
  const Checkpoint& checkpoint = model.checkpoint();
  RAM_CHECK(relative.size() == checkpoint.units.size());
  ThreadPool pool(model.options().threads);
  // Embedding and head are disturbed in a second model, so that the original's logits can be
  // computed beside.
  LanguageModel twin = twin_of(model);
  // Into `disturbed` as it goes, so that a unit is restored though the next one fails.
  const auto disturb = [&](LanguageModel& which, int layer, std::vector<int>& disturbed) {
    for (size_t u = 0; u < relative.size(); ++u) {
      const Unit& unit = checkpoint.units[u];
      if (unit.layer != layer || relative[u] <= 0) continue;
      check_interrupted();
      const int index = static_cast<int>(u);
      which.set_unit(index,
                     noisy_rows(checkpoint, index, relative[u], noise_seed(seed, index, 0), pool));
      disturbed.push_back(index);
    }
  };
  std::vector<int> of_twin;  // which goes as it is
  disturb(twin, -1, of_twin);
  HiddenRows base = model.embed(rows);
  HiddenRows noisy = twin.embed(rows);
  for (int layer = 0; layer < model.layers(); ++layer) {
    model.run_layers(base, layer, layer + 1);
    std::vector<int> disturbed;
    const AtScopeExit restore([&] {
      for (const int unit : disturbed) model.restore_unit(unit);
    });
    disturb(model, layer, disturbed);
    model.run_layers(noisy, layer, layer + 1);
  }
  const std::vector<LogitSource> sources = {{.model = &model, .hidden = &base},
                                            {.model = &twin, .hidden = &noisy}};
  RowSums sums = row_sums(rows, sources);
  return {.row_kl = std::move(sums.kl.front()), .row_nll = std::move(sums.nll[1])};
}

}  // namespace ram

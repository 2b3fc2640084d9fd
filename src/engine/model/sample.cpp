// Sampling of tokens. The generator is implemented here so that a seed gives the same text with
// every standard library.
#include <algorithm>
#include <cmath>
#include <vector>

#include "ram/cancellation.h"
#include "ram/engine.h"
#include "ram/error.h"
#include "ram/random.h"

namespace ram {

int32_t draw_token(std::span<const float> logits, double temperature, SplitMix64& random) {
  const auto largest = std::max_element(logits.begin(), logits.end());
  const double at = random.uniform();  // drawn in any case, so that temperatures can be compared
  if (temperature == 0) return static_cast<int32_t>(largest - logits.begin());
  std::vector<double> weights(logits.size());
  double total = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    weights[i] = std::exp((double{logits[i]} - double{*largest}) / temperature);
    total += weights[i];
  }
  double left = at * total;
  for (size_t i = 0; i < logits.size(); ++i) {
    left -= weights[i];
    if (left < 0) return static_cast<int32_t>(i);
  }
  return static_cast<int32_t>(largest - logits.begin());  // rounding at the very end
}

std::vector<int32_t> sample_tokens(Decoder& decoder, std::span<const int32_t> prompt,
                                   const SampleOptions& options,
                                   const std::function<void(int32_t id)>& on_token) {
  if (!(options.temperature >= 0) || std::isinf(options.temperature)) {
    fail(Code::kUsage, "temperature {}: use a number from 0 up", options.temperature);
  }
  SplitMix64 random(options.seed);
  std::vector<int32_t> drawn;
  if (options.max_tokens < 1) return drawn;
  std::span<const float> logits = decoder.feed(prompt);
  while (true) {
    check_interrupted();
    const int32_t id = draw_token(logits, options.temperature, random);
    const auto& stops = options.stop_ids;
    if (std::find(stops.begin(), stops.end(), id) != stops.end()) break;
    drawn.push_back(id);
    if (on_token) on_token(id);
    if (std::ssize(drawn) >= options.max_tokens) break;
    logits = decoder.feed({&drawn.back(), 1});
  }
  return drawn;
}

}  // namespace ram

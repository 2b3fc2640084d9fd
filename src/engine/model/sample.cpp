// Sampling of tokens. The generator is implemented here so that a seed gives the same text with
// every standard library.
#include <algorithm>
#include <cmath>
#include <vector>

#include "ram/cancellation.h"
#include "ram/engine.h"
#include "ram/error.h"
#include "ram/random.h"

#include "model/state.h"

namespace ram {

namespace {

// Ids whose weights are summed at a time; those of one piece are then looked at one by one.
constexpr size_t kPiece = 256;

size_t likeliest(std::span<const float> logits) {
  return static_cast<size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// The id at which the sum of exp(logit) from the left passes `share` of the whole.
size_t id_at(Backend& backend, std::span<const float> logits, double share) {
  std::vector<ExpSum> sums;
  ExpSum all;
  for (size_t first = 0; first < logits.size(); first += kPiece) {
    sums.push_back(backend.exp_sum(logits.subspan(first, std::min(kPiece, logits.size() - first))));
    all.add(sums.back());
  }
  const auto weight = [&](const ExpSum& sum) {
    return sum.sum * std::exp(sum.largest - all.largest);
  };
  double left = share * all.sum;
  size_t at = 0;
  while (at < sums.size() && left >= weight(sums[at])) left -= weight(sums[at++]);
  if (at == sums.size()) return likeliest(logits);  // rounding at the very end
  const auto piece = logits.subspan(at * kPiece, std::min(kPiece, logits.size() - at * kPiece));
  for (size_t i = 0; i < piece.size(); ++i) {
    left -= std::exp(double{piece[i]} - all.largest);
    if (left < 0) return at * kPiece + i;
  }
  return at * kPiece + likeliest(piece);  // the same within the piece
}

}  // namespace

int32_t LanguageModel::draw_token(std::span<const float> logits, double temperature,
                                  SplitMix64& random) {
  const double share = random.uniform();  // drawn in any case, so that temperatures can be compared
  if (temperature == 0) return static_cast<int32_t>(likeliest(logits));
  Backend& backend = *state_->backend;
  if (temperature == 1) return static_cast<int32_t>(id_at(backend, logits, share));
  const float largest = logits[likeliest(logits)];
  std::vector<float> scaled(logits.size());
  // Below this a weight is 0, and further down a float infinite.
  constexpr double kLeast = -1e4;
  std::transform(logits.begin(), logits.end(), scaled.begin(), [&](float logit) {
    return static_cast<float>(std::max(kLeast, (double{logit} - double{largest}) / temperature));
  });
  return static_cast<int32_t>(id_at(backend, scaled, share));
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
    const int32_t id = decoder.model().draw_token(logits, options.temperature, random);
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

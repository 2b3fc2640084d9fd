// What stored errors do, beside what noise of the same size does.
#pragma once

#include <string>
#include <vector>

namespace ram::cli {

/// One draw of noise in all units, or what is stored in its place.
struct Harm {
  double kl = 0;         ///< nats per token
  double delta_nll = 0;  ///< the same, minus the original's
  double mean = 0;       ///< perplexities
  double median = 0;
};

struct Spread {
  double mean = 0;
  double deviation = 0;
  double reach = 0;  ///< a further draw lies within mean +- reach in 95 % of cases
};

/// @param drawn at least two.
Spread spread_of(const std::vector<Harm>& drawn, double Harm::*value);

/// Whether what the mean says of the stored errors is more than noise of their size would make it
/// say, as a sentence.
std::string verdict_of(const Harm& stored, const std::vector<Harm>& drawn);

}  // namespace ram::cli

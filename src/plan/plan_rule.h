// Allowed contents of plan.json. Its writer keeps to this and its reader rejects anything else, so
// every published plan can be read again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "ram/plan.h"

namespace ram {

/// A range of numbers, both ends included.
struct NumberRange {
  double least = 0;
  double most = 0;
};

// Keeps a sum over all units of prior x gain x gain x squared error finite.
constexpr NumberRange kPriorRange = {0, kLargestPrior};
constexpr NumberRange kGainRange = {1 / kLargestPrior, kLargestPrior};
constexpr NumberRange kBitsRange = {0, 64};  ///< per weight
constexpr NumberRange kVetoRange = {-kLargestVeto, kLargestVeto};
constexpr NumberRange kErrorRange = {0, 1e300};   ///< NRMSE, and losses
constexpr int64_t kMostBytes = int64_t{1} << 62;  ///< parse_size's own limit
constexpr NumberRange kSecondsRange = {0, 1e15};
constexpr int kMostMinBits = 8;
constexpr size_t kLongestName = 300;  ///< bytes

/// @return whether the reader accepts it as a name: up to kLongestName bytes of well-formed,
/// printable UTF-8.
bool is_plan_name(std::string_view text);

/// @return the name that the writer uses: printable, truncated if too long.
std::string to_plan_name(std::string_view text);

/// Throws Error{kUsage} if the reader would reject what the writer makes of the plan.
void expect_readable(const Plan& plan);

}  // namespace ram

// What plan.json may hold. Its writer keeps to this and its reader refuses the rest, so that what is
// published can be read again.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ram/plan.h"

namespace ram {

/// A range of numbers with both ends in it.
struct NumberRange {
  double least = 0;
  double most = 0;
};

// Products of a prior, two gains and a squared error, added over all units, stay finite.
constexpr NumberRange kPriorRange = {0, kLargestPrior};
constexpr NumberRange kGainRange = {1 / kLargestPrior, kLargestPrior};
constexpr NumberRange kBitsPerWeightRange = {0, 64};
constexpr NumberRange kVetoRange = {-1e6, 1e6};
constexpr NumberRange kLossRange = {0, 1e300};
constexpr int64_t kLargestByteCount = int64_t{1} << 62;  ///< parse_size's own
constexpr size_t kLongestName = 300;                     ///< bytes

/// @return whether the reader takes it as a name: at most kLongestName bytes of well-formed UTF-8
/// without control characters.
bool is_plan_name(std::string_view text);

/// @return the name that the writer gives: what is_plan_name forbids is replaced by U+FFFD or cut
/// off.
std::string to_plan_name(std::string_view text);

/// Throws Error{kInternal} unless the reader accepts what the writer makes of the plan.
void expect_readable(const Plan& plan);

}  // namespace ram

// Calling FitEvents, whose functions may be empty.
#pragma once

#include <string>
#include <string_view>

#include "ram/fit.h"

namespace ram {

inline void note(const FitEvents& events, const std::string& text) {
  if (events.note) events.note(text);
}

inline void enter_stage(const FitEvents& events, std::string_view stage) {
  if (events.stage) events.stage(stage);
}

}  // namespace ram

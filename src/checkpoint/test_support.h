// Shared by the tests of checkpoints.
#pragma once

#include <stdexcept>
#include <string>

#include "ram/checkpoint.h"

namespace ram::testing {

/// @throws std::runtime_error there is none.
inline const Unit& unit_of(const Checkpoint& checkpoint, const std::string& name) {
  for (const Unit& unit : checkpoint.units) {
    if (unit.name == name) return unit;
  }
  throw std::runtime_error("no unit " + name);
}

}  // namespace ram::testing

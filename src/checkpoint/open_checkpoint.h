// Opens a model of other families than the program's: for tests that add one.
#pragma once

#include <string>

#include "ram/checkpoint.h"

#include "families.h"

namespace ram {

/// As Checkpoint::open, which uses families().
/// @param families must be constants: the checkpoint keeps a pointer to one of them.
Checkpoint open_checkpoint(const std::string& folder_or_id, Quantized quantized,
                           FamilyTable families);

}  // namespace ram

// Opening a model of other families than the program's own: for tests that add one.
#pragma once

#include <string>

#include "ram/checkpoint.h"

#include "families.h"

namespace ram {

/// Checkpoint::open, which opens the families of families().
/// @param families constants: the checkpoint keeps a pointer to one of them.
Checkpoint open_checkpoint(const std::string& folder_or_id, Quantized quantized,
                           FamilyTable families);

}  // namespace ram

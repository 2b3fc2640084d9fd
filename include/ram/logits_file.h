// The logits of given ids as a file, for other programs to compare with. Part of the module `eval`.
#pragma once

#include <filesystem>
#include <span>

#include "ram/engine.h"
#include "ram/safetensors.h"

namespace ram {

/// Writes a safetensors file of one tensor, `logits` float32 [rows, length, vocabulary]. The file
/// is either complete or unchanged.
/// @param rows at least one, all of the same length of at least one token.
/// @return the tensor that was written.
/// @throws as visit_logits; Error{kWriteFailed}; {kCorrupt} also: the model changed meanwhile.
/// @cost a pass over the layers per rows_at_once() rows; 4 bytes of disk per logit.
TensorSpec write_logits(LanguageModel& model, std::span<const TokenRow> rows,
                        const std::filesystem::path& file);

}  // namespace ram

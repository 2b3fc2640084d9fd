// The table of families. A new one needs its file in families/, its declaration here and its entry
// in families.cpp.
#pragma once

#include "family.h"

namespace ram {

extern const Family kLlama;
extern const Family kMistral;
extern const Family kQwen2;
extern const Family kQwen3;
extern const Family kQwen3Moe;
extern const Family kQwen2Moe;
extern const Family kMixtral;

/// @return all families, in the order in which messages name them.
FamilyTable families();

}  // namespace ram

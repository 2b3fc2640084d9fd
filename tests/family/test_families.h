// Families of the tests in this folder, each in its own file.
#pragma once

#include "family.h"

namespace ram {

extern const Family kOtherLlama;
extern const Family kReshapedLlama;

}  // namespace ram

// Families of the tests in this folder, each in a file of its own.
#pragma once

#include "family.h"

namespace ram {

extern const Family kOtherLlama;
extern const Family kReshapedLlama;

}  // namespace ram

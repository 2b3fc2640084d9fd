// The manual page, from the same tables as --help.
#pragma once

#include <string>

#include "arguments.h"

namespace ram::cli {

/// @param any the arguments of any command of the program.
/// @return ram(1) as man macros of roff.
std::string manual_page(const Arguments& any);

}  // namespace ram::cli

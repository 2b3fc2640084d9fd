// Fields of CSV files. Part of the module `base`.
#pragma once

#include <string>
#include <string_view>

namespace ram {

/// @return a field as RFC 4180 writes it: quoted only where it must be.
std::string csv_field(std::string_view text);

}  // namespace ram

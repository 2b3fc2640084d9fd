// Fields of CSV files. Part of the module `base`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ram {

/// @return a field as RFC 4180 writes it: quoted only where it must be.
std::string csv_field(std::string_view text);

/// @return the fields of one line of RFC 4180, without its line end; fields contain no line ends.
std::vector<std::string> csv_fields(std::string_view line);

}  // namespace ram

// nlohmann's JSON, compiled once. Instantiated in every source that uses it, it took two seconds
// more of each; only its templates by input and by value are still.
#pragma once

#include <nlohmann/json.hpp>

extern template class nlohmann::basic_json<>;
extern template class nlohmann::basic_json<nlohmann::ordered_map>;

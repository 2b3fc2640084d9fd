// The library's two trees, compiled once for all who include ram/json.h, in a file of its own:
// sanitized and optimized it took three times as long as it does plainly (CMakeLists.txt).
#include "ram/json.h"

template class nlohmann::basic_json<>;
template class nlohmann::basic_json<nlohmann::ordered_map>;

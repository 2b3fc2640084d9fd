// The library's two trees, compiled once for all users of ram/json.h. In a separate file because
// sanitizers and optimization together would triple its compile time (CMakeLists.txt).
#include "ram/json.h"

template class nlohmann::basic_json<>;
template class nlohmann::basic_json<nlohmann::ordered_map>;

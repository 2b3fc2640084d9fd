# find_package(ram): the target ram::ram, with the headers <ram/...>.
include(${CMAKE_CURRENT_LIST_DIR}/RamDependencies.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/ramTargets.cmake)

# Shared by every target: the language, the warnings, the dependencies, and the two functions that turn a folder of src/
# into a library (with its tests) or into the program.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
include(RamDependencies)
find_package(CLI11 REQUIRED)

option(RAM_TESTS "Build the tests" ON)
option(RAM_BENCH "Build the benchmarks" OFF)
option(RAM_FUZZ "Build the fuzz targets (clang only)" OFF)
option(RAM_SANITIZE "AddressSanitizer and UndefinedBehaviorSanitizer" OFF)
option(RAM_TSAN "ThreadSanitizer" OFF)
option(RAM_PRECOMPILE "Parse and instantiate common headers once (gains with Clang, not with GCC 12)" OFF)
option(RAM_UNITY "Compile some sources of a module as one: faster from nothing, slower after a change" OFF)
option(RAM_WERROR "Warnings are errors" OFF)

if(RAM_TESTS)
  enable_testing()
  find_package(GTest REQUIRED)
endif()

set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

add_library(ram_flags INTERFACE)
target_compile_features(ram_flags INTERFACE cxx_std_20)
target_include_directories(ram_flags INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                               $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
# No implicit fused multiply-add: the scalar reference and the SIMD code must agree bit for bit.
target_compile_options(ram_flags INTERFACE "$<BUILD_INTERFACE:-ffp-contract=off;-Wall;-Wextra;-Wpedantic;-Wshadow;-Wconversion;-Wno-sign-conversion>")
target_compile_definitions(ram_flags INTERFACE $<BUILD_INTERFACE:RAM_VERSION="${PROJECT_VERSION}">)
install(TARGETS ram_flags EXPORT ram)
if(RAM_WERROR)
  target_compile_options(ram_flags INTERFACE -Werror)
endif()
if(RAM_SANITIZE)
  target_compile_options(ram_flags INTERFACE -fsanitize=address,undefined -fno-omit-frame-pointer
                                             -fno-sanitize-recover=undefined)
  target_link_options(ram_flags INTERFACE -fsanitize=address,undefined)
  # Sanitized programs are large: lld links them in a fraction of ld's time.
  find_program(RAM_LLD NAMES ld.lld-16 ld.lld)
  if(RAM_LLD AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    target_link_options(ram_flags INTERFACE -fuse-ld=lld)
  endif()
endif()
if(RAM_TSAN)
  if(RAM_SANITIZE)
    message(FATAL_ERROR "RAM_TSAN and RAM_SANITIZE exclude each other: build one after the other")
  endif()
  target_compile_options(ram_flags INTERFACE -fsanitize=thread -fno-omit-frame-pointer)
  target_link_options(ram_flags INTERFACE -fsanitize=thread)
endif()
if(RAM_FUZZ)
  target_compile_options(ram_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# Headers that most sources include, parsed and instantiated once: they take half of a sanitized source's time. A build
# without (release) still finds an include that is missing. A precompiled header serves sources of one optimization
# level.
set(RAM_COMMON_HEADERS <algorithm> <array> <cmath> <filesystem> <fstream> <functional> <map> <memory> <optional> <span>
                       <string> <string_view> <vector> <fmt/format.h> ${PROJECT_SOURCE_DIR}/include/ram/json.h)
if(RAM_PRECOMPILE)
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/precompiled.cpp CONTENT "")
endif()

# ram_precompiled(<name> <option> <headers of tests>...): an object library that holds the common headers, compiled with
# <option> in a debug build. ram_precompile(<target> <name>): the target is compiled alike, and uses them.
function(ram_precompiled name option)
  set_property(GLOBAL PROPERTY RAM_OPTION_OF_${name} ${option})
  if(RAM_PRECOMPILE)
    add_library(${name} OBJECT ${PROJECT_BINARY_DIR}/precompiled.cpp)
    target_compile_options(${name} PRIVATE $<$<CONFIG:Debug>:${option}>)
    target_link_libraries(${name} PRIVATE ram_flags fmt::fmt nlohmann_json::nlohmann_json Threads::Threads)
    if(ARGN)
      target_link_libraries(${name} PRIVATE GTest::gmock GTest::gtest)
    endif()
    target_precompile_headers(${name} PRIVATE ${RAM_COMMON_HEADERS} ${ARGN})
  endif()
endfunction()

function(ram_precompile target name)
  get_property(option GLOBAL PROPERTY RAM_OPTION_OF_${name})
  target_compile_options(${target} PRIVATE $<$<CONFIG:Debug>:${option}>)
  if(RAM_PRECOMPILE)
    target_precompile_headers(${target} REUSE_FROM ${name})
  endif()
endfunction()

# Sanitized code at -O0 made some tests take minutes; optimizing all of it would take more time than it saves. Code that
# computes is optimized a little in a debug build; tests and code that only parses, prints and stores are not. In a
# release the latter is optimized only a little too: full optimization costs a quarter of its compile time, with no
# noticeable gain. (Tried: -O0 for all but base, quant, allocate, tokenizer, encoder and engine. The build took no less,
# the tests more than 680 s instead of 411.)
set(RAM_MODULES_THAT_COMPUTE base safetensors quant allocate tokenizer checkpoint encoder curve engine plan eval build
                             calibrate)
ram_precompiled(ram_precompiled_computing -O1)
ram_precompiled(ram_precompiled_plain -O0)
if(RAM_TESTS)
  ram_precompiled(ram_precompiled_tests -O0 <gmock/gmock.h> <gtest/gtest.h>)
endif()

# ram_unite(<target>): with RAM_UNITY, several sources are compiled as one, so that headers are parsed and templates
# instantiated once for all of them: a build from nothing takes half the time, one after a change takes more. So names of
# a module's sources differ even in unnamed namespaces.
function(ram_unite target)
  if(RAM_UNITY)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 6)
    # For GCC a source that is included is a header, whose classes must not have members of unnamed namespaces.
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
  endif()
endfunction()

# ram_sources(<out> <folder>): the folder's sources, one level of folders below it too, without its tests; <out>_TESTS are the tests.
function(ram_sources out folder)
  file(GLOB all CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${folder}/*.cpp
                                  ${PROJECT_SOURCE_DIR}/src/${folder}/*/*.cpp)
  set(tests ${all})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  list(FILTER all EXCLUDE REGEX "_test\\.cpp$")
  set(${out} ${all} PARENT_SCOPE)
  set(${out}_TESTS ${tests} PARENT_SCOPE)
endfunction()

# Modules whose threads share memory: their tests have the label `threads`, and the preset `tsan` builds and runs them.
set(RAM_MODULES_THAT_SHARE_MEMORY base curve engine eval calibrate fit)

# Tests that a release build repeats (label and target `optimized`): of code that optimization can break (the vector code,
# the solver), of what sanitizers prevent, and those that take long without optimization (simulated statistics, every
# step of a build that can fail). All tests of a module, or the named files (<name>_test.cpp).
set(RAM_TRIED_OPTIMIZED_allocate all)
set(RAM_TRIED_OPTIMIZED_base dtype thread)
set(RAM_TRIED_OPTIMIZED_build build fault kept)
set(RAM_TRIED_OPTIMIZED_checkpoint read_rows)
set(RAM_TRIED_OPTIMIZED_curve study_places)
set(RAM_TRIED_OPTIMIZED_encoder all)
set(RAM_TRIED_OPTIMIZED_engine all)
set(RAM_TRIED_OPTIMIZED_eval accuracy logit_sums simulation statistics subjects_simulation vectors verdict_simulation)
set(RAM_TRIED_OPTIMIZED_plan budget make_plan plan_json sweep trust)
set(RAM_TRIED_OPTIMIZED_quant all)

# Modules of the program only: not installed for other programs.
set(RAM_MODULES_OF_THE_PROGRAM command_line cli)

set(RAM_MODULES_TESTED_LONGEST plan build calibrate)

# ram_test(<target> <module> <source>...): a program of a module's tests.
function(ram_test target module)
  add_executable(${target} ${ARGN})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src/${module} ${PROJECT_SOURCE_DIR}/tests)
  target_compile_definitions(${target} PRIVATE RAM_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(${target} PRIVATE ram_${module} ram_test_support GTest::gmock GTest::gtest_main)
  ram_precompile(${target} ram_precompiled_tests)
  ram_unite(${target})
  # The tests' own code need not be fast; -O3 took half a minute of some of these sources.
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)
endfunction()

# ram_optimized_tests(<module> <source>...): of these sources, those that a release build repeats, as a program of their own.
function(ram_optimized_tests module)
  set(tests ${ARGN})
  if(NOT RAM_TRIED_OPTIMIZED_${module} STREQUAL all)
    string(REPLACE ";" "|" names "${RAM_TRIED_OPTIMIZED_${module}}")
    list(FILTER tests INCLUDE REGEX "/(${names})_test\\.cpp$")
    list(LENGTH tests found)
    list(LENGTH RAM_TRIED_OPTIMIZED_${module} wanted)
    if(NOT found EQUAL wanted)
      message(FATAL_ERROR "RAM_TRIED_OPTIMIZED_${module} names ${wanted} test files, ${found} of them exist")
    endif()
  endif()
  ram_test(ram_${module}_optimized_test ${module} ${tests})
  set_target_properties(ram_${module}_optimized_test PROPERTIES EXCLUDE_FROM_ALL ON)
  add_test(NAME optimized.${module} COMMAND ram_${module}_optimized_test)
  set_tests_properties(optimized.${module} PROPERTIES LABELS optimized TIMEOUT 600 COST 80)
  set_property(GLOBAL APPEND PROPERTY RAM_OPTIMIZED_TESTS ram_${module}_optimized_test)
endfunction()

# ram_module(<name> <module>...): library ram_<name> from src/<name>/, and its tests as ram_<name>_test.
function(ram_module name)
  ram_sources(sources ${name})
  add_library(ram_${name} STATIC ${sources})
  target_include_directories(ram_${name} PRIVATE ${PROJECT_SOURCE_DIR}/src/${name})
  target_link_libraries(ram_${name} PUBLIC ram_flags)
  ram_unite(ram_${name})
  if(name IN_LIST RAM_MODULES_THAT_COMPUTE)
    ram_precompile(ram_${name} ram_precompiled_computing)
  else()
    ram_precompile(ram_${name} ram_precompiled_plain)
    target_compile_options(ram_${name} PRIVATE $<$<CONFIG:Release>:-O1>)
  endif()
  foreach(module IN LISTS ARGN)
    target_link_libraries(ram_${name} PUBLIC ram_${module})
  endforeach()
  if(NOT name IN_LIST RAM_MODULES_OF_THE_PROGRAM)
    install(TARGETS ram_${name} EXPORT ram ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  endif()
  if(RAM_TESTS AND sources_TESTS)
    ram_test(ram_${name}_test ${name} ${sources_TESTS})
    # One process for all of a module's tests: starting a sanitized one for each took a third of their time. To run one
    # test, use the program with --gtest_filter. The longest start first (COST), so that both processors are busy until
    # the end.
    add_test(NAME unit.${name} COMMAND ram_${name}_test)
    set(labels fast)
    if(name IN_LIST RAM_MODULES_THAT_SHARE_MEMORY)
      list(APPEND labels threads)
      set_property(GLOBAL APPEND PROPERTY RAM_THREADS_TESTS ram_${name}_test)
    endif()
    set_tests_properties(unit.${name} PROPERTIES LABELS "${labels}" TIMEOUT 600)
    if(name IN_LIST RAM_MODULES_TESTED_LONGEST)
      set_tests_properties(unit.${name} PROPERTIES COST 100)
    endif()
    if(DEFINED RAM_TRIED_OPTIMIZED_${name} AND NOT RAM_SANITIZE AND NOT RAM_TSAN)
      ram_optimized_tests(${name} ${sources_TESTS})
    endif()
  endif()
endfunction()

# ram_program(<name> <folder> <module>...): the program from src/<folder>/, main.cpp and its commands.
function(ram_program name folder)
  ram_module(${folder} ${ARGN})
  # main.cpp stays out of the library, so that tests can link the commands.
  get_target_property(sources ram_${folder} SOURCES)
  list(FILTER sources EXCLUDE REGEX "/main\\.cpp$")
  set_target_properties(ram_${folder} PROPERTIES SOURCES "${sources}")
  add_executable(${name} ${PROJECT_SOURCE_DIR}/src/${folder}/main.cpp)
  target_link_libraries(${name} PRIVATE ram_${folder})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
endfunction()

# ram_link(<module> <target>...): libraries from outside the project, private to one module
# (PUBLIC only so that a static library's users link them too).
function(ram_link module)
  target_link_libraries(ram_${module} PUBLIC ${ARGN})
  foreach(test IN ITEMS ram_${module}_test ram_${module}_optimized_test)
    if(TARGET ${test})
      target_link_libraries(${test} PRIVATE ${ARGN})
    endif()
  endforeach()
endfunction()

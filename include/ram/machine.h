// The processors and memory available to this process.
#pragma once

#include <cstdint>
#include <string>

namespace ram {

/// @return the processors this process may run on (affinity and cgroup quota respected), at
/// least 1.
int default_threads();

/// @return the most bytes that the system's limits allow this process, of its container or its
///         address space (`ulimit -v`); INT64_MAX if there is no limit.
int64_t memory_limit_bytes();

/// @return bytes of the machine's memory, without regard to limits.
int64_t physical_memory_bytes();

/// @return the machine's memory or, if less, what the limits allow, bytes.
int64_t memory_bytes();

/// @return how much of `memory` a program may plan to use: the rest is for allocators, which round
///         up and keep freed blocks.
int64_t usable_memory_bytes(int64_t memory);

/// @return the memory of which `used` bytes are usable: the inverse of usable_memory_bytes.
int64_t memory_bytes_for(int64_t used);

/// @return the machine in words: "Intel(R) Xeon(R) Gold 6338, 2 processors, 25.0 GB, Linux x86_64".
std::string machine_name();

/// @return the value of an environment variable; empty if it is not set.
std::string environment(const char* name);

/// @return the peak of this process's resident memory so far, bytes.
int64_t peak_resident_bytes();

/// From now on freed blocks of two megabytes and more are returned to the system at once, in any
/// order. By default glibc raises that threshold to 32 MiB as blocks are freed and keeps smaller
/// ones in each thread's heap: up to twice the memory in use, so that no limit on memory could be
/// guaranteed. To be called before threads start; does nothing if the C library has no such
/// setting.
void return_freed_blocks();

}  // namespace ram

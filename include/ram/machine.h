// What this process has of its machine: processors and memory.
#pragma once

#include <cstdint>
#include <string>

namespace ram {

/// @return the processors this process may run on (affinity and cgroup quota respected), at
/// least 1.
int default_threads();

/// @return the most bytes that limits of the system leave this process, whatever the machine has:
/// of its container, of its address space (`ulimit -v`); INT64_MAX where there is none.
int64_t memory_limit_bytes();

/// @return bytes of memory that the machine has, whatever limits say.
int64_t physical_memory_bytes();

/// @return the machine's memory, or what limits leave of it, bytes.
int64_t memory_bytes();

/// @return what of so much memory a program may use: the rest is for what allocators round up and
/// keep.
int64_t usable_memory_bytes(int64_t memory);

/// @return the memory of which so much may be used, as usable_memory_bytes has it.
int64_t memory_bytes_for(int64_t used);

/// @return the machine in words: "Intel(R) Xeon(R) Gold 6338, 2 processors, 25.0 GB, Linux x86_64".
std::string machine_name();

/// @return the most this process has had resident so far, bytes.
int64_t peak_resident_bytes();

/// From now on freed blocks of two megabytes and more go back to the system at once, whatever
/// their order. By default glibc raises that limit to 32 MiB as blocks are freed and keeps the rest
/// in heaps of each thread, twice what is in use, which no bound on memory can promise. To be
/// called before threads start; does nothing where the C library has no such setting.
void return_freed_blocks();

}  // namespace ram

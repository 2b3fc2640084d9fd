// Whether this build is sanitized; compilers announce it in different ways.
#pragma once

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define RAM_SANITIZED 1
#endif
#endif
#if !defined(RAM_SANITIZED) && (defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__))
#define RAM_SANITIZED 1
#endif
#ifndef RAM_SANITIZED
#define RAM_SANITIZED 0
#endif

#pragma once

namespace common::daemon {

/// True in a build with the address or the thread sanitizer. Their reports start a program that looks up names, and the
/// search for leaks stops all threads as a debugger would: there the sandbox lets those through, and holds in all else.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool instrumented = true;
#else
inline constexpr bool instrumented = false;
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool instrumented = true;
#else
inline constexpr bool instrumented = false;
#endif

}  // namespace common::daemon

#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/// Looking at many octets at once, for the data reader.
namespace smtpd {

/// One bit for each of 64 octets, the first in the lowest bit.
struct BlockMasks {
  std::uint64_t cr = 0, lf = 0, dot = 0;
};

#if defined(__SSE2__)

inline BlockMasks scan_block(const char* block) {
  BlockMasks masks;
  for (unsigned quarter = 0; quarter < 4; ++quarter) {
    const __m128i octets = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + std::size_t{quarter} * 16));
    const auto equal = [&](char c) {
      const auto bits = static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(octets, _mm_set1_epi8(c))));
      return std::uint64_t{bits} << (quarter * 16);
    };
    masks.cr |= equal('\r');
    masks.lf |= equal('\n');
    masks.dot |= equal('.');
  }
  return masks;
}

#else

inline BlockMasks scan_block(const char* block) {
  BlockMasks masks;
  for (unsigned i = 0; i < 64; ++i) {
    masks.cr |= std::uint64_t{block[i] == '\r'} << i;
    masks.lf |= std::uint64_t{block[i] == '\n'} << i;
    masks.dot |= std::uint64_t{block[i] == '.'} << i;
  }
  return masks;
}

#endif

/// The first CR or LF in [from, end), or `end`.
inline const char* find_newline(const char* from, const char* end) {
#if defined(__SSE2__)
  while (end - from >= 16) {
    const __m128i octets = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    const __m128i either =
        _mm_or_si128(_mm_cmpeq_epi8(octets, _mm_set1_epi8('\r')), _mm_cmpeq_epi8(octets, _mm_set1_epi8('\n')));
    const auto bits = static_cast<std::uint32_t>(_mm_movemask_epi8(either));
    if (bits != 0) return from + std::countr_zero(bits);
    from += 16;
  }
#endif
  while (from != end && *from != '\r' && *from != '\n') ++from;
  return from;
}

}  // namespace smtpd

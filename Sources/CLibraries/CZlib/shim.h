// zlib's initialisers are macros, which Swift does not import.
#pragma once
#include <zlib.h>

static inline int waystation_deflate_init(
    z_stream *stream, int level, int window_bits, int memory_level) {
    return deflateInit2(
        stream, level, Z_DEFLATED, window_bits, memory_level, Z_DEFAULT_STRATEGY);
}

static inline int waystation_inflate_init(z_stream *stream) {
    return inflateInit2(stream, 15);
}

// The one function of libcrypto that the hub uses. libcurl's OpenSSL flavour brings the library
// itself to every machine that builds this package, but not its headers (those are libssl-dev).
#pragma once
#include <stddef.h>

/// OpenSSL 3, SHA256(3): hashes `count` bytes at `data` into the 32 bytes at `digest`.
unsigned char *SHA256(const unsigned char *data, size_t count, unsigned char *digest);

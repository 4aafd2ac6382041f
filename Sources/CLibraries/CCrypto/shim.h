// The two functions of libcrypto that the hub uses. libcurl's OpenSSL flavour brings the library
// itself to every machine that builds this package, but not its headers (those are libssl-dev).
#pragma once
#include <stddef.h>
#include <stdint.h>

/// OpenSSL 3, OPENSSL_init_crypto(3): prepares the library, as `options` says; `settings` may be
/// null. Returns 1, or 0 when it cannot.
int OPENSSL_init_crypto(uint64_t options, const void *settings);

/// Of its options: the library frees nothing when the process exits.
#define OPENSSL_INIT_NO_ATEXIT 0x00080000

/// OpenSSL 3, SHA256(3): hashes `count` bytes at `data` into the 32 bytes at `digest`. Returns
/// `digest`, or null when the library cannot be used.
unsigned char *SHA256(const unsigned char *data, size_t count, unsigned char *digest);

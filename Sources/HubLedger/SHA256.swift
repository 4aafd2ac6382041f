import CCrypto

/// SHA-256 by libcrypto: 32 bytes.
package func sha256(_ bytes: [UInt8]) -> [UInt8] {
    precondition(libraryIsReady, "libcrypto can be used")
    var digest = [UInt8](repeating: 0, count: 32)
    let written = bytes.withUnsafeBufferPointer { SHA256($0.baseAddress, $0.count, &digest) }
    precondition(written != nil, "libcrypto has SHA-256")
    return digest
}

/// Prepares libcrypto before its first use, so that it frees nothing when the process exits.
///
/// By itself it frees then what it keeps for each thread; and a thread that ends at that moment,
/// as the ledger's may, frees the same once more, and what is left of the process breaks off with
/// a damaged heap. The system takes the memory back anyway.
private let libraryIsReady = OPENSSL_init_crypto(UInt64(OPENSSL_INIT_NO_ATEXIT), nil) == 1

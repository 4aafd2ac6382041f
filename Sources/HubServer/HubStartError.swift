/// Why the server does not start.
package enum HubStartError: Error, Hashable, CustomStringConvertible {
    case alreadyServed(path: String)
    case lock(path: String, reason: String)
    case address(String)
    case listen(address: String, reason: String)
    /// A certificate or key file; the reason never holds anything of a key.
    case certificate(path: String, reason: String)

    package var description: String {
        switch self {
        case .alreadyServed(let path): "another server serves the ledger \(path)"
        case .lock(let path, let reason): "the lock file \(path) cannot be used: \(reason)"
        case .address(let text): "\(text) is not an address to listen on"
        case .listen(let address, let reason): "cannot listen on \(address): \(reason)"
        case .certificate(let path, let reason): "\(path) cannot be used for TLS: \(reason)"
        }
    }

    package var hint: String {
        switch self {
        case .alreadyServed: "stop the other one first; two would not share commits"
        case .lock: "the directory of the ledger must be writable"
        case .address: "write HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080"
        case .listen: "choose another address or port, or stop what uses it"
        case .certificate:
            "give PEM files: the certificate and those above it in one, its private key in another"
        }
    }
}

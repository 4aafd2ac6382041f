/// Where a hub listens: scheme, host and port, checked, without a path.
package struct HubAddress: Equatable {
    /// `http://host:port` or `https://host:port`, without a slash at the end.
    let origin: String
    /// Whether the scheme is https.
    let isEncrypted: Bool
    private let host: Substring

    /// Whether what is sent there can be read by anybody on the way.
    package var isExposed: Bool { !isEncrypted && !isLoopback }

    private var isLoopback: Bool {
        if host == "[::1]" || host.lowercased() == "localhost" { return true }
        let numbers = host.split(separator: ".", omittingEmptySubsequences: false)
        return numbers.count == 4 && numbers[0] == "127" && numbers.allSatisfy { UInt8($0) != nil }
    }

    /// Checks an address as a person or an invite code gives it.
    ///
    /// One slash at the end is dropped. A host may be a name (also one in Chinese, which libcurl
    /// turns into its ASCII form), an IPv4 address or an IPv6 address in brackets. A user, a path,
    /// a query or a fragment is refused; since such a text may hold a password, the error does
    /// not repeat it.
    ///
    /// - Throws: ``TransportError/badAddress(reason:)``.
    package init(_ text: String) throws(TransportError) {
        let schemes = [("https://", true), ("http://", false)]
        guard
            let (scheme, isEncrypted) = schemes.first(where: { text.lowercased().hasPrefix($0.0) })
        else { throw .badAddress(reason: "it starts with neither http:// nor https://") }
        self.isEncrypted = isEncrypted
        var rest = text.dropFirst(scheme.count)
        if rest.last == "/" { rest.removeLast() }

        let port: Substring?
        if rest.first == "[" {
            guard let bracket = rest.firstIndex(of: "]") else {
                throw .badAddress(reason: "a bracket is not closed")
            }
            host = rest[...bracket]
            let tail = rest[rest.index(after: bracket)...]
            guard tail.isEmpty || tail.first == ":" else {
                throw .badAddress(reason: "something other than a port follows the bracket")
            }
            port = tail.isEmpty ? nil : tail.dropFirst()
            guard host.count > 2, host.utf8.dropFirst().dropLast().allSatisfy(Self.isOfIPv6) else {
                throw .badAddress(reason: "what the brackets hold is no IPv6 address")
            }
        } else if let colon = rest.firstIndex(of: ":") {
            host = rest[..<colon]
            port = rest[rest.index(after: colon)...]
        } else {
            host = rest
            port = nil
        }
        guard !host.isEmpty else { throw .badAddress(reason: "it names no host") }
        guard host.first == "[" || host.utf8.allSatisfy(Self.isOfName) else {
            throw .badAddress(reason: "it holds more than a host and a port")
        }
        if let port {
            guard port.utf8.allSatisfy({ UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }),
                let number = UInt16(port), number > 0
            else { throw .badAddress(reason: "its port is no number from 1 to 65535") }
        }
        origin = scheme + rest
    }

    private static func isOfName(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
            UInt8(ascii: "_"), 0x80...:
            true
        default: false
        }
    }

    /// A zone after `%`, as in `fe80::1%eth0`, is allowed: it is how two laptops sync by cable.
    private static func isOfIPv6(_ byte: UInt8) -> Bool {
        isOfName(byte) && byte < 0x80 || byte == UInt8(ascii: ":") || byte == UInt8(ascii: "%")
    }
}

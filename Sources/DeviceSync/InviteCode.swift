/// What a person types to enrol: `ABCD-EFGH`, with the hub's key behind it where it has one of its
/// own, as `ABCD-EFGH-P` and 52 digits of RFC 4648 base32.
///
/// - SeeAlso: `protocol/SPEC.md`, enrolment.
package struct InviteCode: Hashable, Sendable {
    /// What the hub is told.
    package let code: String
    /// SHA-256 of the hub's public key, 32 bytes.
    package let pinnedKey: [UInt8]?

    private static let pinDigits = 52
    private static let lengthMax = 256

    /// - Throws: ``SyncError/badCode(reason:)``, which does not repeat the code.
    package init(_ text: String) throws(SyncError) {
        let trimmed = text.drop(while: \.isWhitespace)
        let upper = String(trimmed.reversed().drop(while: \.isWhitespace).reversed()).uppercased()
        guard !upper.isEmpty else { throw .badCode(reason: "it is empty") }
        guard upper.utf8.count <= Self.lengthMax, upper.utf8.allSatisfy(Self.isAllowed) else {
            throw .badCode(reason: "it holds more than letters, digits and hyphens")
        }
        guard let hyphen = upper.lastIndex(of: "-"),
            upper[upper.index(after: hyphen)...].utf8.count == Self.pinDigits + 1,
            upper[upper.index(after: hyphen)...].first == "P"
        else {
            code = upper
            pinnedKey = nil
            return
        }
        guard let key = Self.decoded(upper[upper.index(after: hyphen)...].dropFirst()) else {
            throw .badCode(reason: "the key at its end is mistyped")
        }
        code = String(upper[..<hyphen])
        pinnedKey = key
    }

    private static func isAllowed(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
            UInt8(ascii: "-"):
            true
        default: false
        }
    }

    /// 52 digits are 260 bits: 32 bytes, and 4 bits that must be 0.
    private static func decoded(_ digits: Substring) -> [UInt8]? {
        var bytes: [UInt8] = []
        var buffer: UInt32 = 0
        var bits: UInt32 = 0
        for digit in digits.utf8 {
            let value: UInt8
            switch digit {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = digit - UInt8(ascii: "A")
            case UInt8(ascii: "2")...UInt8(ascii: "7"): value = digit - UInt8(ascii: "2") + 26
            default: return nil
            }
            buffer = buffer << 5 | UInt32(value)
            bits += 5
            if bits >= 8 {
                bits -= 8
                bytes.append(UInt8(truncatingIfNeeded: buffer >> bits))
                buffer &= 1 << bits - 1
            }
        }
        return bytes.count == 32 && buffer == 0 ? bytes : nil
    }
}

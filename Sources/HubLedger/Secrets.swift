/// Codes and tokens: random, shown once, stored only as SHA-256.
enum Secrets {
    /// RFC 4648 base 32 without padding.
    private static let base32 = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")

    private static let base64 = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")

    static func base32Text(_ bytes: [UInt8]) -> String {
        var text = ""
        var buffer: UInt32 = 0
        var bits: UInt32 = 0
        for byte in bytes {
            buffer = buffer << 8 | UInt32(byte)
            bits += 8
            while bits >= 5 {
                bits -= 5
                text.append(base32[Int(buffer >> bits & 31)])
            }
            buffer &= (1 << bits) - 1
        }
        if bits > 0 { text.append(base32[Int(buffer << (5 - bits) & 31)]) }
        return text
    }

    /// Four groups of four characters: 80 random bits.
    static func inviteCode() -> String {
        let text = base32Text(randomBytes(10))
        return stride(from: 0, to: 16, by: 4).map { offset in
            String(text.dropFirst(offset).prefix(4))
        }.joined(separator: "-")
    }

    /// 22 characters of base 64 for addresses (RFC 4648 §5): 128 random bits. It travels with every
    /// request.
    static func token() -> String {
        let bytes = randomBytes(16) + [0, 0]
        let text = stride(from: 0, to: 18, by: 3).flatMap { start in
            let number = bytes[start..<start + 3].reduce(0) { $0 << 8 | Int($1) }
            return [18, 12, 6, 0].map { base64[number >> $0 & 63] }
        }
        return String(text.prefix(22))
    }

    static func hash(_ secret: String) -> [UInt8] { sha256(Array(secret.utf8)) }

    private static func randomBytes(_ count: Int) -> [UInt8] {
        var generator = SystemRandomNumberGenerator()
        return (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
    }
}

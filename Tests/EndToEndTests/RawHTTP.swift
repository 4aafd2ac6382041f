import Foundation

/// An answer as it stood on the wire.
struct RawAnswer: Sendable {
    var status: Int
    var body: [UInt8]

    var text: String { String(decoding: body, as: UTF8.self) }

    /// Reads one answer; `nil` when the server closed without a whole head.
    init?(from socket: Socket) {
        var bytes: [UInt8] = []
        while true {
            let part = socket.receive()
            if part.isEmpty { break }
            bytes += part
            if Self.isWhole(bytes) { break }
        }
        guard let (status, _, body) = Self.parts(of: bytes) else { return nil }
        self.status = status
        self.body = body
    }

    private static func parts(of bytes: [UInt8]) -> (status: Int, length: Int?, body: [UInt8])? {
        guard let end = Data(bytes).range(of: Data("\r\n\r\n".utf8)) else { return nil }
        let head = String(decoding: bytes[..<end.lowerBound], as: UTF8.self)
        guard let status = head.firstMatch(of: /^HTTP\/1\.1 (\d{3})/).flatMap({ Int($0.1) })
        else { return nil }
        let length = head.firstMatch(of: /(?i)\r\ncontent-length: (\d+)/).flatMap { Int($0.1) }
        return (status, length, Array(bytes[end.upperBound...]))
    }

    private static func isWhole(_ bytes: [UInt8]) -> Bool {
        guard let (_, length, body) = parts(of: bytes) else { return false }
        return length.map { body.count >= $0 } ?? false
    }
}

/// A request, built by hand so that it can be wrong in any way.
struct RawRequest: Sendable {
    static let mediaType = "application/vnd.waystation.v1"

    var method = "POST"
    var path = "/v1/enroll"
    var mediaType: String? = RawRequest.mediaType
    var token: String?
    var body: [UInt8] = []
    /// Told in Content-Length; by default what the body has.
    var length: Int?

    /// Sends the request and waits for its answer.
    ///
    /// - Parameter breaksOff: Whether to stop sending after the body, however long it should be.
    func send(to port: Int, breaksOff: Bool = false) throws -> RawAnswer? {
        let socket = try Socket(to: port)
        var head = "\(method) \(path) HTTP/1.1\r\nHost: 127.0.0.1:\(port)\r\n"
        if let mediaType { head += "Content-Type: \(mediaType)\r\n" }
        if let token { head += "Authorization: Bearer \(token)\r\n" }
        if method == "POST" { head += "Content-Length: \(length ?? body.count)\r\n" }
        socket.send(Array((head + "\r\n").utf8) + body)
        if breaksOff { socket.finishSending() }
        return RawAnswer(from: socket)
    }
}

/// Frames made by hand from the layout in `protocol/SPEC.md`, and broken on purpose.
enum RawFrame {
    /// A message in a frame, not compressed (a stored block of RFC 1951).
    ///
    /// - Parameter length: What the frame says that the message has; by default the truth.
    static func frame(
        _ message: [UInt8], version: UInt8 = 1, length: Int? = nil, dictionary: UInt32? = nil
    ) -> [UInt8] {
        // zlib's header, with or without the flag of a preset dictionary (RFC 1950 §2.2).
        var body: [UInt8] = dictionary == nil ? [0x78, 0x01] : [0x78, 0x20]
        if let dictionary { body += bigEndian(dictionary) }
        body.append(1)
        body += littleEndian(UInt16(message.count)) + littleEndian(~UInt16(message.count))
        body += message + bigEndian(adler32(message))
        return frame(deflated: body, version: version, length: length ?? message.count)
    }

    /// A frame around bytes that claim to be zlib's.
    static func frame(deflated body: [UInt8], version: UInt8 = 1, length: Int) -> [UInt8] {
        let checked = littleEndian(UInt32(length)) + body
        return [0x57, 0x59, version] + littleEndian(crc32(checked)) + checked
    }

    /// Some 160 MB of zeros in a megabyte: 13 bits for 258 bytes with the fixed codes.
    static func bomb(claiming length: Int) -> [UInt8] {
        var bytes: [UInt8] = [0x78, 0x01]
        var buffer: UInt64 = 0
        var count = 0
        func put(_ bits: String) {
            for bit in bits {
                if bit == "1" { buffer |= 1 << UInt64(count) }
                count += 1
                if count == 8 {
                    bytes.append(UInt8(truncatingIfNeeded: buffer))
                    buffer = 0
                    count = 0
                }
            }
        }
        put("1" + "10")  // The last block, fixed codes.
        put("00110000")  // A zero.
        while bytes.count < 1_000_000 { put("11000101" + "00000") }  // 258 of it again.
        return frame(deflated: bytes, length: length)
    }

    private static func littleEndian<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
        withUnsafeBytes(of: number.littleEndian) { Array($0) }
    }

    private static func bigEndian(_ number: UInt32) -> [UInt8] {
        withUnsafeBytes(of: number.bigEndian) { Array($0) }
    }

    private static func adler32(_ bytes: [UInt8]) -> UInt32 {
        var (low, high): (UInt32, UInt32) = (1, 0)
        for byte in bytes {
            low = (low + UInt32(byte)) % 65_521
            high = (high + low) % 65_521
        }
        return high << 16 | low
    }

    private static func crc32(_ bytes: [UInt8]) -> UInt32 {
        var sum: UInt32 = 0xFFFF_FFFF
        for byte in bytes {
            sum ^= UInt32(byte)
            for _ in 0..<8 { sum = (sum >> 1) ^ (sum & 1 == 1 ? 0xEDB8_8320 : 0) }
        }
        return ~sum
    }
}

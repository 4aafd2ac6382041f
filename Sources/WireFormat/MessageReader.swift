/// Walks over protobuf's bytes without making anything of them.
///
/// - SeeAlso: <https://protobuf.dev/programming-guides/encoding/>.
struct MessageReader {
    private let bytes: [UInt8]
    private var offset: Int
    private let end: Int

    /// - Parameter range: Where the message lies in the bytes.
    init(_ bytes: [UInt8], _ range: Range<Int>) {
        self.bytes = bytes
        offset = range.lowerBound
        end = range.upperBound
    }

    var isAtEnd: Bool { offset == end }

    /// - Returns: `nil` where none lies whole.
    mutating func varint() -> UInt64? {
        var result: UInt64 = 0
        var shift: UInt64 = 0
        while offset < end, shift < 64 {
            let byte = bytes[offset]
            offset += 1
            result |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return result }
            shift += 7
        }
        return nil
    }

    mutating func skip(_ count: Int) { offset += min(count, end - offset) }

    /// - Returns: Where the bytes lie whose length stands here; `nil` if they are not all there.
    mutating func block() -> Range<Int>? {
        guard let length = varint(), length <= UInt64(end - offset) else { return nil }
        defer { offset += Int(length) }
        return offset..<offset + Int(length)
    }
}

/// Appends numbers and texts to bytes: LEB128 varints, zigzag for signed ones.
///
/// - SeeAlso: `protocol/SPEC.md` §3.
@frozen package struct ByteWriter: Sendable {
    @usableFromInline package var bytes: [UInt8] = []

    @inlinable package init() {}

    /// Makes room for about so many bytes more.
    @inlinable package mutating func reserve(_ count: Int) {
        bytes.reserveCapacity(bytes.count + count)
    }

    @inlinable package mutating func put(byte: UInt8) { bytes.append(byte) }

    /// 1 to 10 bytes.
    @inlinable package mutating func put(_ number: UInt64) {
        var rest = number
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    @inlinable package mutating func put(_ number: Int) { put(UInt64(number)) }

    @inlinable package mutating func put(signed number: Int64) {
        put(UInt64(bitPattern: number << 1 ^ number >> 63))
    }

    @inlinable package mutating func put(raw content: [UInt8]) {
        bytes.append(contentsOf: content)
    }

    @inlinable package mutating func put(raw content: UnsafeBufferPointer<UInt8>) {
        bytes.append(contentsOf: content)
    }

    /// A varint length, then the bytes.
    @inlinable package mutating func put(block content: [UInt8]) {
        put(content.count)
        bytes.append(contentsOf: content)
    }

    /// UTF-8 as a block.
    package mutating func put(_ text: String) {
        put(text.utf8.count)
        bytes.append(contentsOf: text.utf8)
    }
}

extension [UInt8] {
    /// `Array(self[range])` at a third of the cost, for values of a few bytes.
    @inlinable package func copy(_ range: Range<Int>) -> [UInt8] {
        withUnsafeBufferPointer { [UInt8](UnsafeBufferPointer(rebasing: $0[range])) }
    }
}

/// Bytes that do not follow their format.
package enum ByteCodingError: Error, Hashable {
    case truncated
    case varintTooLong
    case invalidUTF8
    case trailingBytes
}

/// Reads what ``ByteWriter`` wrote; every read is bounded by the bytes that are there.
@frozen package struct ByteReader: Sendable {
    @usableFromInline let bytes: [UInt8]
    /// Of the next byte.
    @usableFromInline package var index = 0

    @inlinable package init(_ bytes: [UInt8]) { self.bytes = bytes }

    @inlinable package var isAtEnd: Bool { index == bytes.count }

    @inlinable package mutating func byte() throws(ByteCodingError) -> UInt8 {
        guard index < bytes.count else { throw .truncated }
        defer { index += 1 }
        return bytes[index]
    }

    @inlinable package mutating func number() throws(ByteCodingError) -> UInt64 {
        var result: UInt64 = 0
        var shift: UInt64 = 0
        while shift < 70 {
            let next = try byte()
            if shift == 63 && next > 1 { throw .varintTooLong }
            result |= UInt64(next & 0x7F) &<< shift
            if next < 0x80 { return result }
            shift += 7
        }
        throw .varintTooLong
    }

    @inlinable package mutating func signed() throws(ByteCodingError) -> Int64 {
        let raw = try number()
        return Int64(bitPattern: raw >> 1) ^ -Int64(bitPattern: raw & 1)
    }

    /// A number that is used as a count or length; never more than the bytes left can bear.
    @inlinable package mutating func count() throws(ByteCodingError) -> Int {
        let raw = try number()
        guard raw <= UInt64(bytes.count - index) else { throw .truncated }
        return Int(raw)
    }

    @inlinable package mutating func block() throws(ByteCodingError) -> [UInt8] {
        try raw(count())
    }

    @inlinable package mutating func raw(_ count: Int) throws(ByteCodingError) -> [UInt8] {
        guard count >= 0, count <= bytes.count - index else { throw .truncated }
        defer { index += count }
        return bytes.copy(index..<index + count)
    }

    /// Passes over bytes; afterwards they lie before ``index``.
    @inlinable package mutating func skip(_ count: Int) throws(ByteCodingError) {
        guard count >= 0, count <= bytes.count - index else { throw .truncated }
        index += count
    }

    package mutating func text() throws(ByteCodingError) -> String {
        let content = try block()
        guard let text = String(validating: content, as: UTF8.self) else { throw .invalidUTF8 }
        return text
    }

    @inlinable package func end() throws(ByteCodingError) {
        if !isAtEnd { throw .trailingBytes }
    }
}

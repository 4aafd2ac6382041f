/// A 64-bit hash for digests and for naming scopes: FNV-1a, finished with MurmurHash3's mixer.
///
/// Not for secrets: it guards against accidents, not against forgers.
///
/// - SeeAlso: `protocol/SPEC.md` §9, with test vectors.
package struct ContentHash: Sendable {
    private var state: UInt64 = 0xcbf2_9ce4_8422_2325
    private static let prime: UInt64 = 0x100_0000_01b3

    package init() {}

    package mutating func combine(_ bytes: [UInt8]) {
        bytes.withUnsafeBufferPointer { combine($0) }
    }

    package mutating func combine(_ bytes: UnsafeBufferPointer<UInt8>) {
        var state = state
        for byte in bytes { state = (state ^ UInt64(byte)) &* Self.prime }
        self.state = state
    }

    /// Little-endian, 8 bytes.
    package mutating func combine(_ number: UInt64) {
        var rest = number
        var zeros = 8
        while rest != 0 {
            state = (state ^ rest & 0xFF) &* Self.prime
            rest >>= 8
            zeros -= 1
        }
        // A zero byte only multiplies, and most numbers are small.
        let square = Self.prime &* Self.prime
        let fourth = square &* square
        if zeros & 1 != 0 { state = state &* Self.prime }
        if zeros & 2 != 0 { state = state &* square }
        if zeros & 4 != 0 { state = state &* fourth }
        if zeros & 8 != 0 { state = state &* (fourth &* fourth) }
    }

    /// The 16 bytes of a record's id.
    package mutating func combine(_ record: RecordID) {
        combine(record.high.byteSwapped)
        combine(record.low.byteSwapped)
    }

    package var value: UInt64 {
        var mixed = state
        mixed = (mixed ^ mixed >> 33) &* 0xff51_afd7_ed55_8ccd
        mixed = (mixed ^ mixed >> 33) &* 0xc4ce_b9fe_1a85_ec53
        return mixed ^ mixed >> 33
    }
}

/// The digest of a bucket: the sum, modulo 2^64, of one hash for each live version in it.
///
/// A sum can be kept up to date by adding what comes and subtracting what goes, in any order.
package enum BucketDigest {
    /// The share of one live version.
    package static func share(record: RecordID, field: UInt32, version: Version) -> UInt64 {
        share(record: record, field: field, dot: version.dot, value: version.value)
    }

    /// - Parameter value: `nil` when cleared.
    package static func share(
        record: RecordID, field: UInt32, dot: Dot, value: [UInt8]?
    ) -> UInt64 {
        var digest = RecordDigest(of: record)
        digest.add(field: field, dot: dot, value: value)
        return digest.value
    }

    /// Divides a bucket's records evenly: a record lies in the parts whose prefix its id's hash
    /// begins with.
    ///
    /// - Returns: Most significant byte first.
    package static func hash(of record: RecordID) -> UInt64 {
        var hash = ContentHash()
        hash.combine(record)
        return hash.value
    }
}

/// The digest of one record: the sum of the shares of its live versions.
package struct RecordDigest: Sendable {
    package private(set) var value: UInt64 = 0
    /// What the shares of all versions begin with.
    private var start = ContentHash()

    package init(of record: RecordID) { start.combine(record) }

    /// Adds one live version.
    ///
    /// - Parameter content: `nil` when cleared.
    package mutating func add(field: UInt32, dot: Dot, value content: [UInt8]?) {
        guard let content else {
            return add(field: field, dot: dot, value: nil as UnsafeBufferPointer<UInt8>?)
        }
        content.withUnsafeBufferPointer { add(field: field, dot: dot, value: $0) }
    }

    /// The same, from bytes that lie among others.
    package mutating func add(
        field: UInt32, dot: Dot, value content: UnsafeBufferPointer<UInt8>?
    ) {
        var hash = start
        hash.combine(UInt64(field))
        hash.combine(dot.replica.rawValue)
        hash.combine(dot.counter)
        // A cleared field and an empty text differ.
        hash.combine(UInt64(content.map { $0.count + 1 } ?? 0))
        if let content { hash.combine(content) }
        value &+= hash.value
    }
}

extension UInt64 {
    /// One of the eight bytes, the most significant one first.
    package func byte(_ index: Int) -> UInt8 {
        UInt8(truncatingIfNeeded: self >> UInt64(56 - 8 * index))
    }

    /// Whether these are its first bytes; at most eight.
    package func begins(with prefix: [UInt8]) -> Bool {
        prefix.enumerated().allSatisfy { byte($0.offset) == $0.element }
    }
}

/// One incarnation of a journal, or one term of a ledger: a writer.
///
/// A random number of 48 bits, so that it fits beside a record number into a UUIDv7 and into the
/// exact integers of JSON. Two writers that draw the same number are told apart by the ledger,
/// which binds a replica to one device and makes the second one fork. Zero means "none".
///
/// - SeeAlso: `protocol/SPEC.md` §2.
package struct ReplicaID: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// At most ``ReplicaID/bitMask``.
    package let rawValue: UInt64

    package static let bitCount = 48
    package static let bitMask: UInt64 = (1 << 48) - 1
    package static let none = ReplicaID(truncating: 0)

    /// Keeps the low 48 bits of a number.
    package init(truncating number: UInt64) {
        rawValue = number & Self.bitMask
    }

    /// Draws a replica other than zero.
    package static func random(using generator: inout some RandomNumberGenerator) -> ReplicaID {
        ReplicaID(truncating: UInt64.random(in: 1...bitMask, using: &generator))
    }

    package static func < (left: ReplicaID, right: ReplicaID) -> Bool {
        left.rawValue < right.rawValue
    }

    /// Twelve hexadecimal digits.
    package var description: String {
        let digits = String(rawValue, radix: 16)
        return String(repeating: "0", count: 12 - digits.count) + digits
    }
}

/// The hub's replica is its term: each start of a ledger for writing opens one, and so does what
/// follows a commit that failed.
package typealias TermID = ReplicaID

/// The name of a change: its writer and the writer's counter, which starts at 1 without holes.
package struct Dot: Hashable, Comparable, Sendable {
    package var replica: ReplicaID
    package var counter: UInt64

    package init(_ replica: ReplicaID, _ counter: UInt64) {
        self.replica = replica
        self.counter = counter
    }

    package static func < (left: Dot, right: Dot) -> Bool {
        (left.replica, left.counter) < (right.replica, right.counter)
    }
}

/// A place in a ledger's sequence, named by the term in which it was reached.
///
/// A sequence alone would lie after a ledger was restored from a backup: the same numbers are then
/// given out again, to other changes.
package struct Position: Hashable, Sendable {
    package var term: TermID
    package var sequence: UInt64

    package init(term: TermID, sequence: UInt64) {
        self.term = term
        self.sequence = sequence
    }

    /// Before everything: nothing was pulled yet.
    package static let origin = Position(term: .none, sequence: 0)
}

/// A record's name: a UUIDv7 whose random bits carry the creating replica and its record number.
///
/// Layout, from the top: 48 bits of Unix milliseconds, version 7, the replica's high 12 bits;
/// variant 2, the replica's low 36 bits, 26 bits of mixed record number. The mixing makes the ends
/// of ids look random, so that people can name a record by the last few digits.
///
/// - SeeAlso: RFC 9562 §5.7; `protocol/SPEC.md` §2.
package struct RecordID: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let high: UInt64
    package let low: UInt64

    package static let numberBitCount = 26
    package static let numberMask: UInt64 = (1 << 26) - 1
    /// A device's record numbers leave the remainder of the record's kind by this, so kinds that
    /// devices create should differ in it.
    package static let kindsApart: UInt64 = 4
    /// Odd, so that multiplying modulo 2^26 can be undone.
    private static let mixer: UInt64 = 0x1B8_735B
    private static let unmixer: UInt64 = {
        // Newton's iteration doubles the number of right low bits each time.
        var inverse: UInt64 = mixer
        for _ in 0..<5 { inverse = inverse &* (2 &- mixer &* inverse) }
        return inverse & numberMask
    }()

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// - Parameters:
    ///   - milliseconds: Since 1970; only the low 48 bits are kept, so any clock will do.
    ///   - number: The replica's record number, from 1, at most ``numberMask``.
    package init(milliseconds: Int64, replica: ReplicaID, number: UInt64) {
        precondition(number <= Self.numberMask, "record numbers have 26 bits")
        let time = UInt64(bitPattern: milliseconds) & ReplicaID.bitMask
        let mixed = ((number &* Self.mixer) ^ replica.rawValue) & Self.numberMask
        high = time << 16 | 0x7000 | replica.rawValue >> 36
        low = 0b10 << 62 | (replica.rawValue & ((1 << 36) - 1)) << 26 | mixed
    }

    package var milliseconds: Int64 { Int64(high >> 16) }

    package var replica: ReplicaID {
        ReplicaID(truncating: (high & 0xFFF) << 36 | (low >> 26) & ((1 << 36) - 1))
    }

    package var number: UInt64 {
        (((low ^ replica.rawValue) & Self.numberMask) &* Self.unmixer) & Self.numberMask
    }

    /// Whether version and variant are those of a UUIDv7.
    package var isWellFormed: Bool {
        (high >> 12) & 0xF == 7 && low >> 62 == 0b10
    }

    /// 16 bytes, most significant first.
    package var bytes: [UInt8] {
        withUnsafeBytes(of: (high.bigEndian, low.bigEndian)) { [UInt8]($0) }
    }

    /// - Returns: `nil` unless there are 16 bytes.
    package init?(bytes: [UInt8]) {
        guard let id = bytes.withUnsafeBytes({ RecordID(bytes: $0) }) else { return nil }
        self = id
    }

    /// - Returns: `nil` unless there are 16 bytes.
    package init?(bytes: UnsafeRawBufferPointer) {
        guard bytes.count == 16 else { return nil }
        self.init(
            high: UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
            low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
    }

    /// The 32 lower-case hexadecimal digits, without hyphens.
    package var digits: String {
        func half(_ number: UInt64) -> String {
            let text = String(number, radix: 16)
            return String(repeating: "0", count: 16 - text.count) + text
        }
        return half(high) + half(low)
    }

    /// The canonical text of a UUID: 8-4-4-4-12 digits.
    package var description: String {
        var text = ""
        for (index, digit) in digits.enumerated() {
            if index == 8 || index == 12 || index == 16 || index == 20 { text.append("-") }
            text.append(digit)
        }
        return text
    }

    /// Reads 32 hexadecimal digits of either case; hyphens are skipped.
    package init?(_ text: some StringProtocol) {
        var halves: (UInt64, UInt64) = (0, 0)
        var count = 0
        for character in text where character != "-" {
            guard count < 32, character.isASCII, let digit = character.hexDigitValue else {
                return nil
            }
            if count < 16 {
                halves.0 = halves.0 << 4 | UInt64(digit)
            } else {
                halves.1 = halves.1 << 4 | UInt64(digit)
            }
            count += 1
        }
        guard count == 32 else { return nil }
        self.init(high: halves.0, low: halves.1)
    }

    package static func < (left: RecordID, right: RecordID) -> Bool {
        (left.high, left.low) < (right.high, right.low)
    }
}

/// How people name records: by the ends of their ids, which look random (see ``RecordID``); the
/// beginnings are the time, and much alike among records of one day.
package struct ShortIDs: Sendable {
    package static let digitsMin = 4

    private var lengths: [RecordID: Int] = [:]

    package init(_ ids: [RecordID]) {
        // Sorted by their digits from behind, the most alike stand side by side.
        let sorted = ids.map { (id: $0, digits: Self.reversedDigits($0)) }
            .sorted { $0.digits < $1.digits }
        for entry in sorted { lengths[entry.id] = Self.digitsMin }
        // Not zipped: a command that names one record would set up types for it all the same.
        for index in sorted.indices.dropFirst() {
            let (left, right) = (sorted[index - 1], sorted[index])
            let shared = Self.sharedDigits(left.digits, right.digits)
            for id in [left.id, right.id] {
                lengths[id] = min(32, max(lengths[id] ?? 0, shared + 1))
            }
        }
    }

    /// The shortest end that tells the id from the others, at least ``digitsMin`` digits; the
    /// whole of an id that is none of them.
    package subscript(id: RecordID) -> String { String(id.digits.suffix(lengths[id] ?? 32)) }

    /// The ids that end, or if none does begin, with some digits.
    ///
    /// - Parameter digits: Lower-case, without hyphens.
    package static func matches(of digits: String, among ids: [RecordID]) -> [RecordID] {
        let byEnd = ids.filter { $0.digits.hasSuffix(digits) }
        return byEnd.isEmpty ? ids.filter { $0.digits.hasPrefix(digits) } : byEnd
    }

    private static func reversedDigits(_ id: RecordID) -> (UInt64, UInt64) {
        func reversed(_ number: UInt64) -> UInt64 {
            (0..<16).reduce(0) { $0 << 4 | (number >> UInt64(4 * $1)) & 0xF }
        }
        return (reversed(id.low), reversed(id.high))
    }

    private static func sharedDigits(_ left: (UInt64, UInt64), _ right: (UInt64, UInt64)) -> Int {
        left.0 == right.0
            ? 16 + (left.1 ^ right.1).leadingZeroBitCount / 4
            : (left.0 ^ right.0).leadingZeroBitCount / 4
    }
}

/// How people name records: by the ends of their ids, which look random (see ``RecordID``); the
/// beginnings are the time, and much alike among records of one day.
///
/// A copied journal and its original name their next records with the same number of the same
/// replica, so those differ in nothing but the time. Such an id is named by its beginning, if that
/// is shorter.
package struct ShortIDs: Sendable {
    package static let digitsMin = 4
    /// The number and most of the replica; who shares more differs in the time, whose beginning is
    /// shorter.
    private static let endDigitsMax = 16

    private var lengths: [RecordID: Int] = [:]
    /// Of those that are named by their beginnings.
    private var beginnings: [RecordID: Int] = [:]

    /// - Parameter ids: All that a name must tell apart.
    package init(_ ids: [RecordID]) {
        self.init(ids, among: { ids })
    }

    /// - Parameters:
    ///   - ids: Those to name, and all whose last ``digitsMin`` digits are those of one of them.
    ///   - all: All that a name must tell apart, `ids` among them; asked only when an end is too
    ///     long.
    package init<Fault>(
        _ ids: [RecordID], among all: () throws(Fault) -> [RecordID]
    ) throws(Fault) {
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
        let long = lengths.filter { $0.value > Self.endDigitsMax }
        if !long.isEmpty { noteBeginnings(of: long, among: try all()) }
    }

    private mutating func noteBeginnings(of long: [RecordID: Int], among all: [RecordID]) {
        let sorted = all.sorted()
        /// The ends of a length, which go before beginnings when a person means an id.
        var ends: [Int: Set<UInt64>] = [:]
        for index in sorted.indices {
            let id = sorted[index]
            guard let end = long[id] else { continue }
            var shared = 0
            for other in [index - 1, index + 1] where sorted.indices.contains(other) {
                shared = max(
                    shared,
                    Self.sharedDigits((id.high, id.low), (sorted[other].high, sorted[other].low)))
            }
            let length = max(Self.digitsMin, shared + 1)
            guard length < min(end, Self.endDigitsMax) else { continue }
            let mask = UInt64.max >> UInt64(64 - 4 * length)
            if ends[length] == nil { ends[length] = Set(all.map { $0.low & mask }) }
            if ends[length]?.contains(id.high >> UInt64(64 - 4 * length)) == true { continue }
            beginnings[id] = length
        }
    }

    /// The shortest end that tells the id from the others, at least ``digitsMin`` digits, or, where
    /// that is longer than the time, the shortest beginning; the whole of an id that is none of
    /// them.
    package subscript(id: RecordID) -> String {
        beginnings[id].map { String(id.digits.prefix($0)) }
            ?? String(id.digits.suffix(lengths[id] ?? 32))
    }

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

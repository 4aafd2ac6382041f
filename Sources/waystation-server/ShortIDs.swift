import SyncCore

/// The shortest ends of ids that tell them apart, at least four digits: what people read and type.
struct ShortIDs {
    static let digitsMin = 4

    private var lengths: [RecordID: Int] = [:]

    init(_ ids: [RecordID]) {
        // Sorted by their digits from behind, the most alike stand side by side.
        let sorted = ids.map { (id: $0, digits: Array($0.digits.utf8.reversed())) }
            .sorted { $0.digits.lexicographicallyPrecedes($1.digits) }
        for entry in sorted { lengths[entry.id] = Self.digitsMin }
        for (left, right) in zip(sorted, sorted.dropFirst()) {
            let shared = zip(left.digits, right.digits).prefix { $0 == $1 }.count
            for id in [left.id, right.id] {
                lengths[id] = min(32, max(lengths[id] ?? 0, shared + 1))
            }
        }
    }

    subscript(id: RecordID) -> String { String(id.digits.suffix(lengths[id] ?? 32)) }
}

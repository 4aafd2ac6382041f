import DeviceJournal
import NeedModel
import SyncCore
import WireFormat

/// Invariants 5, 10, 11, 14, 15 and 16: a complete pull is the ledger's state over the scope, as of
/// its cursor, and nothing else.
struct PullChecker {
    /// By the answer's attempt and cursor (a duplicated request is served twice): each record's
    /// digest at the moment the last page was served.
    private var expected: [Key: [RecordID: UInt64]] = [:]
    private var order: [Key] = []
    /// By the device's number, all buckets that it was ever entitled to.
    private var scopes: [Int64: Set<Bucket>] = [:]

    private struct Key: Hashable {
        var attempt: UInt32
        var cursor: Position
    }

    mutating func noteScope(_ scope: Scope, of device: SimulatedDevice) {
        scopes[device.number, default: []].formUnion(scope.buckets)
    }

    mutating func noteServed(
        _ answer: SyncAnswer, to request: SyncRequest, holding: RightfulHolding,
        device: SimulatedDevice, by hub: SimulatedHub
    ) throws {
        guard let page = answer.page else { return }
        func fail(_ what: String) -> Violation {
            Violation(invariant: 16, what: "\(device.name) \(what), outside its scope")
        }
        var writers: Set<ReplicaID> = []
        for record in page.records {
            guard holding.fingerprints[record.id] != nil else {
                throw fail("was sent \(record.id)")
            }
            writers.insert(record.id.replica)
            for version in record.versions { writers.insert(version.stamp.dot.replica) }
        }
        for writer in page.writers where !writers.contains(writer.replica) {
            throw fail("is told the name of \(writer.replica)")
        }
        // What was there at the time of an earlier pull and is not any more, or was asked for.
        for id in page.departed where request.audit?.refetch.contains(id) != true {
            if try hub.wasEver(id, in: scopes[device.number] ?? []) { continue }
            throw fail("is told that \(id) departs")
        }
        for case .records(let records) in page.findings.map(\.content) {
            for record in records where holding.fingerprints[record.id] == nil {
                throw fail("is told of \(record.id)")
            }
        }
        guard let cursor = page.cursor else { return }
        let key = Key(attempt: answer.attempt, cursor: cursor)
        expected[key] = holding.fingerprints
        order.append(key)
        if order.count > 50 { expected[order.removeFirst()] = nil }
    }

    /// Until its last page has come nothing of a pull is shown, and the cursor stays.
    func checkStaged(
        _ answer: SyncAnswer, _ inspection: JournalInspection, device: SimulatedDevice
    ) throws {
        if let cursor = answer.page?.cursor {
            guard inspection.cursor == cursor else {
                throw Violation(
                    invariant: 14,
                    what: "\(device.name) pulled \(cursor) and stands at \(inspection.cursor)")
            }
            device.pulled = device.pulled(in: inspection)
            device.pulledBefore = []
            return
        }
        guard let pulled = device.pulled else { return }
        guard inspection.cursor == pulled.cursor else {
            throw Violation(
                invariant: 14,
                what: "\(device.name) stands at \(inspection.cursor) before its pull is complete")
        }
        guard device.altered.isEmpty else { return }
        let held = device.held(in: inspection)
        if held == pulled.held { return }
        let difference = Self.difference(held, pulled.held)
        throw Violation(
            invariant: 10,
            what: "\(device.name) shows \(difference.count) records otherwise before its pull is "
                + "complete, one of them \(difference.min()!)")
    }

    private static func difference(
        _ held: [RecordID: UInt64], _ expected: [RecordID: UInt64]
    ) -> Set<RecordID> {
        Set(held.keys).union(expected.keys).filter { held[$0] != expected[$0] }
    }

    /// - Parameter mayDiffer: Whether a disk altered a record.
    /// - Returns: Whether all is equal.
    func checkAbsorbed(
        _ answer: SyncAnswer, _ inspection: JournalInspection, device: SimulatedDevice,
        mayDiffer: (RecordID) -> Bool
    ) throws -> Bool {
        guard let cursor = answer.page?.cursor,
            let expected = expected[Key(attempt: answer.attempt, cursor: cursor)]
        else { return false }
        let held = device.held(in: inspection)
        if held == expected { return true }
        let difference = Self.difference(held, expected)
        guard let first = difference.filter({ !mayDiffer($0) }).min() else { return false }
        let what =
            held[first] == nil
            ? "lacks \(first)" : expected[first] == nil ? "holds \(first)" : "differs in \(first)"
        throw Violation(
            invariant: 5, what: "\(device.name) after a complete pull \(what) (\(difference.count))"
        )
    }

    func checkEqual(
        _ inspection: JournalInspection, holding: RightfulHolding, device: SimulatedDevice,
        wasRestored: Bool = false
    ) throws {
        let expected = holding.fingerprints
        let held = device.held(in: inspection)
        let difference = Self.difference(held, expected).filter { id in
            // What a restored hub was sent again has other stamps; a row that a disk brings back
            // from before has the same dots and values, and so the same digest.
            !(wasRestored && device.everAltered.contains(id))
        }
        guard difference.isEmpty else {
            throw Violation(
                invariant: 5,
                what:
                    "\(device.name) differs from the ledger at rest in \(difference.count) records")
        }
        if let hidden = inspection.records.first(where: { !$0.value.isVisible }) {
            throw Violation(invariant: 15, what: "\(device.name) still keeps \(hidden.key)")
        }
    }
}

import DeviceJournal
import HubLedger
import NeedModel
import SyncCore

/// Invariant 20: after the hub was restored, everything that any device holds comes back.
struct RestoreChecker {
    /// A live version that a device was shown when the hub was restored.
    struct Held: Hashable {
        var record: RecordID
        var field: UInt32
        var dot: Dot
        var value: [UInt8]?

        init(record: RecordID, field: UInt32, dot: Dot, value: [UInt8]?) {
            self.record = record
            self.field = field
            self.dot = dot
            self.value = value
        }

        init(_ version: Version, of record: RecordID, _ field: UInt32) {
            self.init(record: record, field: field, dot: version.dot, value: version.value)
        }

        /// What a ledger was sent by writers, and what it was brought back.
        static func all(of groups: [InspectedGroup], brought: [InspectedBrought]) -> Set<Held> {
            var result = Set(brought.map { Held($0.version, of: $0.record, $0.field) })
            for entry in groups {
                for (index, change) in entry.group.changes.enumerated() {
                    result.insert(
                        Held(
                            record: entry.group.record, field: change.field,
                            dot: Dot(entry.replica, entry.group.firstCounter + UInt64(index)),
                            value: change.value))
                }
            }
            return result
        }
    }
    private struct Named: Hashable {
        var record: RecordID
        var field: UInt32
        var value: [UInt8]?

        init(_ record: RecordID, _ field: UInt32, _ value: [UInt8]?) {
            self.record = record
            self.field = field
            self.value = value
        }
    }
    /// One field of one record.
    struct Field: Hashable {
        var record: RecordID
        var field: UInt32
    }
    /// A code of reference data, which is what people mean by it.
    private struct Code: Hashable {
        var kind: UInt32
        var value: [UInt8]?
    }
    /// Records of which a disk brought back an older row, whole: until the next audit its device
    /// cannot tell it from what it pulled last, and a restored hub takes its word that there was
    /// nothing else.
    var staleRows: Set<RecordID> = []
    /// The fields of which former ledgers were brought something back; late answers may still tell
    /// of it.
    private(set) var formerlyBrought: Set<Field> = []
    /// Of all reference data that any device held when the hub was restored.
    private var codes: [RecordID: Code] = [:]
    private(set) var happened = false
    /// What each device held when the hub was restored, until it has brought it back.
    private var held: [ObjectIdentifier: Set<Held>] = [:]
    private var returned: Set<Held> = []
    /// The first ledger that was lost. Later ones may show conflicts too many, so what is live
    /// there side by side proves nothing.
    private var lostLedger: LostLedger?

    private struct LostLedger {
        /// What was written in it.
        var writes: Set<Held>
        /// What of it was live, and was not replaced in those that were lost after it.
        var live: Set<Held>
        var undecided: [RecordID: Undecided]
    }

    /// What of a need somebody had to decide between its fields.
    private struct Undecided {
        var delete: Held?
        /// Live versions of other fields, that the delete had not seen.
        var edits: Set<Held> = []
        var orders: Set<Held> = []
        var currentOrder: Held?
        /// Answers and ratings that came too late for the order, of the field that keeps them.
        var late: Set<Held> = []

        /// - Returns: `nil` where there was nothing to decide.
        init?(_ record: InspectedRecord) {
            guard record.kind == Kind.need.rawValue else { return nil }
            let registers = Dictionary(
                uniqueKeysWithValues: record.fields.map { ($0.field, $0.register) })
            if let winner = registers[NeedField.withdrawal.rawValue]?.winner {
                delete = Held(winner, of: record.id, NeedField.withdrawal.rawValue)
                for field in record.contested {
                    for version in registers[field]?.versions ?? []
                    where version.isConcurrent(with: winner) {
                        edits.insert(Held(version, of: record.id, field))
                    }
                }
            }
            let dispatch = registers[NeedField.dispatch.rawValue]
            orders = Set(
                dispatch?.versions.map { Held($0, of: record.id, NeedField.dispatch.rawValue) }
                    ?? [])
            currentOrder = dispatch?.winner.map {
                Held($0, of: record.id, NeedField.dispatch.rawValue)
            }
            let order = LateAnswers.order(ofDispatch: dispatch?.winner?.value)
            for version in registers[LateAnswers.field]?.versions ?? []
            where LateAnswers.open(version.value, currentOrder: order) != nil {
                late.insert(Held(version, of: record.id, LateAnswers.field))
            }
            if edits.isEmpty && late.isEmpty { return nil }
        }
    }

    private mutating func held(by device: SimulatedDevice) throws -> Set<Held> {
        var result: Set<Held> = []
        guard let inspection = try device.inspect() else { return [] }
        for (id, record) in inspection.records where record.isVisible {
            // What a disk altered is not brought to others, nor what belongs to it.
            if device.altered.contains(id) { continue }
            if record.kind == Kind.note.rawValue,
                let need = record.fields[NoteField.need.rawValue]?.first?.value,
                let need = RecordID(bytes: need), device.altered.contains(need)
            {
                continue
            }
            if Kind(rawValue: record.kind)?.isReference ?? false {
                // All kinds of reference data number their codes alike.
                codes[id] = Code(
                    kind: record.kind,
                    value: record.fields[CategoryField.code.rawValue]?.first?.value)
            }
            for (field, versions) in record.fields where field != LateAnswers.field {
                for version in versions {
                    result.insert(
                        Held(
                            record: id, field: field, dot: version.stamp.dot,
                            value: version.value))
                }
            }
        }
        return result
    }

    mutating func noteRestore(of ledger: InspectedLedger, _ devices: [SimulatedDevice]) throws {
        happened = true
        let (records, groups, brought) = (ledger.records, ledger.groups, ledger.brought)
        formerlyBrought.formUnion(brought.map { Field(record: $0.record, field: $0.field) })
        var live: Set<Held> = []
        for record in records {
            for entry in record.fields where entry.field != LateAnswers.field {
                for version in entry.register.versions {
                    live.insert(Held(version, of: record.id, entry.field))
                }
            }
        }
        if let lost = lostLedger {
            // What was replaced since, by somebody who had seen it, is no more live beside what
            // comes back of this ledger. Nothing else may have replaced it.
            var replaced: Set<Held> = []
            for (record, fields) in LedgerChecker.histories(groups: groups, brought: brought)
            where !staleRows.contains(record) {
                for (field, history) in fields {
                    try checkCovers(history, record: record, field: field)
                    replaced.formUnion(history.map { Held($0, of: record, field) })
                }
            }
            lostLedger?.live = lost.live.subtracting(replaced.subtracting(live))
        } else {
            // What was refused there may be applied after it, and covers what it had seen.
            lostLedger = LostLedger(
                writes: Held.all(of: groups.filter(\.isApplied), brought: brought), live: live,
                undecided: Dictionary(
                    uniqueKeysWithValues: records.compactMap { record in
                        Undecided(record).map { (record.id, $0) }
                    }))
        }
        returned = []
        for device in devices { held[ObjectIdentifier(device)] = try held(by: device) }
    }

    /// A device holds something else now, before it could bring anything back: its journal was
    /// restored too, or a last answer of the former hub came late.
    mutating func noteChange(of device: SimulatedDevice) throws {
        guard held[ObjectIdentifier(device)] != nil else { return }
        held[ObjectIdentifier(device)] = try held(by: device)
    }

    /// A device has brought back what it held, and pulled.
    mutating func noteReturn(of device: SimulatedDevice) {
        returned.formUnion(held.removeValue(forKey: ObjectIdentifier(device)) ?? [])
    }

    func check(
        records: [InspectedRecord], groups: [InspectedGroup], brought: [InspectedBrought]
    ) throws {
        guard happened else { return }
        let known = Held.all(of: groups.filter(\.isApplied), brought: brought)
        // Where two copies of a journal had used one dot, the hub lends one of them another.
        let renamed = Set(brought.map { Named($0.record, $0.field, $0.version.value) })
        // What the operator imported anew has another id, and takes the place of what was lost;
        // after two restores, what is brought back of the one import that of the other.
        var ids: [Code: Set<RecordID>] = [:]
        for record in records where Kind(rawValue: record.kind)?.isReference ?? false {
            let code = record.fields.first { $0.field == CategoryField.code.rawValue }
            ids[Code(kind: record.kind, value: code?.register.winner?.value), default: []]
                .insert(record.id)
        }
        if let double = ids.first(where: { $0.value.count > 1 }) {
            throw Violation(
                invariant: 20, what: "one code has \(double.value.count) records after a restore")
        }
        func isReplaced(_ record: RecordID) -> Bool {
            guard let code = codes[record], let others = ids[code] else { return false }
            return !others.contains(record)
        }
        let missing = held.values.reduce(returned) { $0.union($1) }.subtracting(known)
            .filter { !renamed.contains(Named($0.record, $0.field, $0.value)) }
            .filter { !isReplaced($0.record) }
        if let first = missing.min(by: { ($0.record, $0.field) < ($1.record, $1.field) }) {
            throw Violation(
                invariant: 20,
                what: "\(missing.count) versions did not come back after a restore, one of them "
                    + "of field \(first.field) of \(first.record), \(first.dot)")
        }
    }
}

extension RestoreChecker {
    /// Invariants 6 and 7 across restores: an extra conflict is allowed, a false cover never.
    func checkCovers(_ history: [Version], record: RecordID, field: UInt32) throws {
        guard let lost = lostLedger else { return }
        for version in history where lost.writes.contains(Held(version, of: record, field)) {
            for other in history
            where version.covers(other) && lost.live.contains(Held(other, of: record, field))
                // What one writer did after the other, which one of them did not tell when it had
                // been brought back to the ledger that was lost.
                && (version.dot.replica != other.dot.replica || version.isBroughtBack
                    || other.isBroughtBack)
            {
                throw Violation(
                    invariant: 7,
                    what: "field \(field) of \(record): \(version.dot) covers \(other.dot), "
                        + "which was live beside it before a restore: \(text(of: history))")
            }
        }
    }
}

extension RestoreChecker {
    /// Invariants 6 and 7 across restores, between the fields of a need: what somebody had to decide
    /// and nobody has decided is there to decide again, as far as it came back.
    func checkUndecided(_ record: InspectedRecord, known: Set<Held>) throws {
        guard let lost = lostLedger?.undecided[record.id] else { return }
        func versions(of field: UInt32) -> [Version] {
            record.fields.first { $0.field == field }?.register.versions ?? []
        }
        if let delete = versions(of: NeedField.withdrawal.rawValue).first,
            lost.delete == Held(delete, of: record.id, NeedField.withdrawal.rawValue)
        {
            for edit in lost.edits {
                for version in versions(of: edit.field)
                where edit == Held(version, of: record.id, edit.field)
                    && !version.isConcurrent(with: delete)
                {
                    throw Violation(
                        invariant: 7,
                        what: "\(record.id): the delete \(delete.dot) and \(version.dot) of field "
                            + "\(edit.field) had not seen each other before a restore: "
                            + text(of: [delete, version]))
                }
            }
        }
        let orders = versions(of: NeedField.dispatch.rawValue)
        let held = orders.map { Held($0, of: record.id, NeedField.dispatch.rawValue) }
        guard lost.orders == Set(held), lost.currentOrder == held.first else { return }
        let late = versions(of: LateAnswers.field)
        let lostDots = Set(lost.late.map(\.dot))
        for held in lost.late where known.contains(held) {
            let isKept = late.contains {
                // A newer one of the same field may have seen it.
                $0.dot == held.dot
                    || $0.value?.first == held.value?.first && !lostDots.contains($0.dot)
            }
            if isKept { continue }
            throw Violation(
                invariant: 7,
                what: "\(record.id): \(held.dot) came too late for the order before a restore, and "
                    + "is not beside it any more: " + text(of: orders + late))
        }
    }
}

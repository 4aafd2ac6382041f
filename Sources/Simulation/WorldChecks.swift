import DeviceJournal
import HubLedger
import NeedModel
import SyncCore

// Checks that need the world.

extension World {
    /// Invariant 8: a person reads their own writes, as long as no newer ones were pulled.
    func checkOwnWrites(_ device: SimulatedDevice, _ own: InspectedCommands) throws {
        func fail(_ what: String) -> Violation {
            Violation(invariant: 8, what: "\(device.name) does not show its own \(what)")
        }
        var last: [RecordID: [UInt32: [UInt8]?]] = [:]
        var missing: [RecordID: UInt32] = [:]
        for entry in own.outbox {
            let group = entry.group
            if let kind = group.createdKind { missing[group.record] = kind }
            for change in group.changes {
                last[group.record, default: [:]].updateValue(change.value, forKey: change.field)
            }
        }
        guard !last.isEmpty else { return }
        let needs = try device.needs()
        for need in needs {
            missing[need.id] = nil
            for (field, value) in last[need.id] ?? [:]
            where need.record.value(field) != value {
                throw fail("field \(field) of \(need.id)")
            }
        }
        for (id, kind) in missing where !digests.isTainted(id, device.everAltered) {
            switch Kind(rawValue: kind) {
            case .need: throw fail("need \(id)")
            case .note:
                let fields = last[id] ?? [:]
                // With its need it is out of sight; and what a disk made of a text can be none.
                guard let bytes = fields[NoteField.need.rawValue] ?? nil,
                    let need = RecordID(bytes: bytes), needs.contains(where: { $0.id == need }),
                    let text = fields[NoteField.text.rawValue] ?? nil,
                    String(validating: text, as: UTF8.self) != nil
                else { continue }
                let shown = try device.journal?.notes(of: need) ?? []
                guard shown.contains(where: { $0.id == id && Array($0.text.utf8) == text }) else {
                    throw fail("note \(id)")
                }
            default: continue
            }
        }
    }

    /// Invariant 9: what the hub says of a field never goes back.
    func checkMonotonic(
        _ device: SimulatedDevice, _ inspection: JournalInspection
    ) throws {
        guard device.altered.isEmpty else {
            // A disk can bring back what was, and more.
            device.newestShown = [:]
            return
        }
        for (id, record) in inspection.records where record.isVisible {
            guard let former = device.newestShown[id], former.isVisible,
                !record.isSame(as: former)
            else { continue }
            // The register of late answers is a set that the hub keeps, not a field that the last
            // writer wins.
            for (field, versions) in record.fields where field != LateAnswers.field {
                if let before = former.fields[field]?.first, let winner = versions.first,
                    winner.stamp.milliseconds < before.stamp.milliseconds,
                    try !wasBroughtBack(id, field)
                {
                    throw Violation(
                        invariant: 9, what: "\(device.name): field \(field) of \(id) went back")
                }
            }
        }
        device.newestShown = inspection.records
    }

    /// What a device brought back to a restored hub keeps its stamp, or loses what of it lies in
    /// the hub's future, also where it covers what has a newer one: what its writer has sent again
    /// meanwhile, or what came before the hub's clock stepped back. What replaces it then need only
    /// be later than itself. A late answer may tell of it that comes from a hub that was put back
    /// once more.
    private func wasBroughtBack(_ id: RecordID, _ field: UInt32) throws -> Bool {
        guard restores.happened else { return false }
        if restores.formerlyBrought.contains(.init(record: id, field: field)) { return true }
        if hub.ledger == nil { try restartHub() }
        return try hub.ledger?.inspectBrought().contains {
            $0.record == id && $0.field == field
        } ?? false
    }

    /// Invariants 6 and 17: a person is shown the needs that are not deleted, and no other; and of
    /// each the conflicts that are open.
    ///
    /// - Parameter records: What the ledger has for the device.
    private func checkShown(_ device: SimulatedDevice, _ records: [InspectedRecord]) throws {
        let needs = records.filter { record in
            record.kind == Kind.need.rawValue
                && !record.fields.contains {
                    $0.field == NeedField.withdrawal.rawValue && $0.register.winner?.value != nil
                }
        }
        let shown = try device.needs()
        let ids = shown.filter { !$0.isWithdrawn }.map(\.id)
        for id in Set(ids).symmetricDifference(needs.map(\.id))
        where !device.everAltered.contains(id) {
            throw Violation(
                invariant: 17,
                what: "\(device.name) \(ids.contains(id) ? "shows" : "does not show") \(id)")
        }
        let conflicts = Dictionary(
            uniqueKeysWithValues: shown.map { ($0.id, Set($0.conflicts.map(\.field))) })
        for record in records
        where record.kind == Kind.need.rawValue && !device.everAltered.contains(record.id) {
            let open = conflicts[record.id] ?? []
            guard open == record.openConflicts else {
                throw Violation(
                    invariant: 6,
                    what: "\(device.name) shows conflicts of \(open.map(\.name).sorted()) of "
                        + "\(record.id), there are \(record.openConflicts.map(\.name).sorted())")
            }
        }
    }

    func checkAtRest() throws {
        guard let ledger = hub.ledger else {
            throw Violation(invariant: 22, what: "the hub is down after healing")
        }
        let inspected = try LedgerChecker.check(ledger, restores: restores, times: hubTimes)
        let (records, groups, brought) = (inspected.records, inspected.groups, inspected.brought)
        let known = records.map { KnownRecord($0) }
        var inspections: [(SimulatedDevice, JournalInspection)] = []
        for device in devices {
            guard let inspection = try device.inspect() else { continue }
            inspections.append((device, inspection))
            guard inspection.outbox.isEmpty else {
                throw Violation(
                    invariant: 22, what: "\(device.name) still waits after healing")
            }
            let holding = RightfulHolding(
                of: known, in: try ledger.scope(ofDevice: device.number))
            try pulls.checkEqual(
                inspection, holding: holding, device: device, wasRestored: restores.happened)
            try digests.checkAtRest(
                inspection, holding: holding, device: device, wasRestored: restores.happened)
            try checkShown(device, records.filter { holding.fingerprints[$0.id] != nil })
        }
        try commands.checkOutcomes(ledger: groups, brought: brought, journals: inspections)
        try schemas.check(
            records: records, journals: inspections, hub: hub.schema,
            copied: commands.copiedDevices)
        try restores.check(records: records, groups: groups, brought: brought)
        trace.note("rest: \(records.count) records, \(groups.count) groups")
    }
}

extension InspectedRecord {
    /// The fields of a need about which somebody has to decide: live versions of other values, an
    /// answer that an order did not know, a withdrawal that did not know of a change.
    var openConflicts: Set<NeedField> {
        let registers = Dictionary(uniqueKeysWithValues: fields.map { ($0.field, $0.register) })
        let order = LateAnswers.order(
            ofDispatch: registers[NeedField.dispatch.rawValue]?.winner?.value)
        return Set(
            NeedField.allCases.filter { field in
                guard let register = registers[field.rawValue] else { return false }
                let values = register.versions.map(\.value).filter {
                    !LateAnswers.sources.contains(field)
                        || LateAnswers.order(of: field, $0) == order
                }
                if Set(values).count > 1 { return true }
                switch field {
                case .dispatch:
                    return registers[LateAnswers.field]?.versions.contains {
                        LateAnswers.open($0.value, currentOrder: order) != nil
                    } ?? false
                case .withdrawal:
                    return register.winner?.value != nil
                        && contested.contains { NeedField(rawValue: $0) != nil }
                default: return false
                }
            })
    }
}

import DeviceJournal
import HubLedger
import NeedModel
import SyncCore

/// Invariant 19: what a program does not know goes through it bit for bit, and what a hub does not
/// know is kept until it does.
struct SchemaChecker {
    /// A kind and two fields of a need that no program here knows.
    static let kind: UInt32 = 60
    static let fields: [UInt32] = [40, 41]

    /// Every value that a later program gave a field, of whatever record: what was not taken back,
    /// or was damaged, may be offered anew under another id.
    private var values: [UInt32: Set<[UInt8]?>] = [:]
    /// What each device recorded of the new kind.
    private var recorded: [Int64: [(record: RecordID, changes: [Change])]] = [:]

    /// Notes what a command is about to write: it may be durable although nobody was told.
    mutating func willWrite(_ changes: [Change]) {
        for change in changes where Self.fields.contains(change.field) {
            values[change.field, default: []].insert(change.value)
        }
    }

    /// Notes what a command that was told as done has stored.
    mutating func record(_ device: SimulatedDevice, _ own: InspectedCommands) {
        guard let group = own.outbox.last?.group, group.createdKind == Self.kind else {
            return
        }
        recorded[device.number, default: []].append((group.record, Array(group.changes)))
    }

    /// At rest.
    ///
    /// - Parameters:
    ///   - hub: What the hub knows by now.
    ///   - copied: Devices whose journals were copied or went back to a copy.
    func check(
        records: [InspectedRecord],
        journals: [(SimulatedDevice, JournalInspection)], hub: SchemaLevel, copied: Set<Int64>
    ) throws {
        func fail(_ what: String) -> Violation { Violation(invariant: 19, what: what) }
        var winners: [RecordID: [UInt32: [UInt8]?]] = [:]
        for record in records {
            guard record.kind != Self.kind else {
                throw fail("the ledger took \(record.id) of a kind that it does not know")
            }
            guard record.kind == Kind.need.rawValue else { continue }
            winners[record.id] = [:]
            for entry in record.fields where Self.fields.contains(entry.field) {
                let known = values[entry.field] ?? []
                for version in entry.register.versions where !known.contains(version.value) {
                    throw fail("field \(entry.field) of \(record.id) is not as it was written")
                }
                if let winner = entry.register.winner {
                    winners[record.id]?.updateValue(winner.value, forKey: entry.field)
                }
            }
        }
        for (device, inspection) in journals {
            for (id, record) in inspection.records where record.isVisible {
                var held: [UInt32: [UInt8]?] = [:]
                for (field, versions) in record.fields where Self.fields.contains(field) {
                    if let winner = versions.first { held.updateValue(winner.value, forKey: field) }
                }
                guard held == winners[id] ?? [:] else {
                    throw fail("\(device.name) holds other new fields of \(id) than the ledger")
                }
            }
            for entry in inspection.commands.refused
            where entry.code == RejectionCode.upgrade.rawValue {
                guard entry.createdKind.flatMap({ hub.kind($0) }) == nil else {
                    throw fail("\(device.name) keeps \(entry.record) back from an upgraded hub")
                }
            }
            if copied.contains(device.number) { continue }
            for (record, changes) in recorded[device.number] ?? [] {
                let isKept = inspection.commands.refused.contains {
                    $0.record == record && $0.changes == changes && $0.createdKind == Self.kind
                        && $0.code == RejectionCode.upgrade.rawValue
                }
                guard isKept else {
                    throw fail("\(device.name) does not keep \(record) for a later hub")
                }
            }
        }
    }
}

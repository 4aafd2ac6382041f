import DeviceJournal
import HubLedger
import NeedModel
import SyncCore

/// What the checkers want to know of one record of the ledger.
struct KnownRecord {
    var id: RecordID
    /// In which it lies.
    var buckets: [Bucket]
    /// Of all that a device is told of it.
    var fingerprint: UInt64
    /// Of its live versions, as `protocol/SPEC.md` §9 has it.
    var digest: UInt64
    /// Of a note, the need that it is about.
    var need: RecordID?

    init(_ record: InspectedRecord) {
        id = record.id
        buckets = record.placement.buckets
        var hash = Fingerprint(
            kind: record.kind, createdMilliseconds: record.createdMilliseconds,
            contested: record.contested)
        var digest = RecordDigest(of: record.id)
        for entry in record.fields {
            hash.combine(field: entry.field)
            for version in entry.register.versions {
                hash.combine(
                    value: version.value, stamp: version.stamp, sequence: version.sequence)
                digest.add(field: entry.field, dot: version.dot, value: version.value)
            }
        }
        fingerprint = hash.value
        self.digest = digest.value
        if record.kind == Kind.note.rawValue {
            need = record.fields.first { $0.field == NoteField.need.rawValue }?
                .register.winner?.value.flatMap { RecordID(bytes: $0) }
        }
    }
}

/// What a device may hold of the ledger's records.
struct RightfulHolding {
    private(set) var scope = Scope.empty
    /// Of each record that lies in one of them.
    private(set) var fingerprints: [RecordID: UInt64] = [:]
    /// The sum of the digests of its buckets.
    private(set) var digest: UInt64 = 0

    /// Of a hub that is down.
    init() {}

    init(of records: [KnownRecord], in scope: Scope) {
        self.scope = scope
        for record in records {
            let count = record.buckets.count { scope.contains($0) }
            if count == 0 { continue }
            fingerprints[record.id] = record.fingerprint
            digest &+= UInt64(count) &* record.digest
        }
    }
}

/// A hash of all that a device is told of a record, on either side.
struct Fingerprint {
    private var hash = ContentHash()

    static func of(_ record: JournalInspection.Record) -> UInt64 {
        var hash = Fingerprint(
            kind: record.kind, createdMilliseconds: record.createdMilliseconds,
            contested: record.contested)
        for (field, versions) in record.fields.sorted(by: { $0.key < $1.key }) {
            hash.combine(field: field)
            for version in versions {
                hash.combine(
                    value: version.value, stamp: version.stamp, sequence: version.sequence)
            }
        }
        return hash.value
    }

    init(kind: UInt32, createdMilliseconds: Int64, contested: [UInt32]) {
        hash.combine(UInt64(kind))
        hash.combine(UInt64(bitPattern: createdMilliseconds))
        for field in contested { hash.combine(UInt64(field)) }
    }

    var value: UInt64 { hash.value }

    mutating func combine(field: UInt32) { hash.combine(UInt64(field)) }

    mutating func combine(value: [UInt8]?, stamp: Stamp, sequence: UInt64) {
        hash.combine(UInt64(value.map { $0.count + 1 } ?? 0))
        if let value { hash.combine(value) }
        hash.combine(UInt64(bitPattern: stamp.milliseconds))
        hash.combine(stamp.dot.replica.rawValue)
        hash.combine(stamp.dot.counter)
        hash.combine(sequence)
    }
}

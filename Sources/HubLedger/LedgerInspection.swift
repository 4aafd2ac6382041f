package import NeedModel
package import SyncCore

// The whole of a ledger as plain values, for the simulator's checkers and for `check`.

/// A record with its live versions.
package struct InspectedRecord: Sendable {
    package var id: RecordID
    package var kind: UInt32
    package var placement: Placement
    package var createdMilliseconds: Int64
    /// Sorted by field.
    package var fields: [(field: UInt32, register: Register)]
    package var contested: [UInt32]
}

/// A group that the ledger decided on, in the order in which they came.
package struct InspectedGroup: Sendable {
    package var replica: ReplicaID
    /// `nil` for the hub's own.
    package var device: Int64?
    package var group: ChangeGroup
    package var outcome: GroupOutcome
    /// Of the first change; 0 when rejected.
    package var sequence: UInt64
    /// One a change.
    package var stamps: [Int64]
    package var clock: ShortClock

    package var isApplied: Bool {
        if case .applied = outcome { true } else { false }
    }
}

/// A change that a device brought back after a restore.
package struct InspectedBrought: Sendable {
    package var record: RecordID
    package var field: UInt32
    package var version: Version
    /// Who brought it, whoever wrote it.
    package var device: Int64
}

extension Ledger {
    /// What devices brought back, in the order of the sequence.
    package func inspectBrought() throws -> [InspectedBrought] {
        var result: [InspectedBrought] = []
        try storage.snapshot {
            try storage.forEachBatch { batch in
                let (device, changes) = try StoredContent.decodeBrought(batch.content)
                for change in changes {
                    result.append(
                        InspectedBrought(
                            record: change.record, field: change.field, version: change.version,
                            device: device))
                }
            }
        }
        return result
    }

    /// The sequence of the newest change.
    package func head() throws -> UInt64 {
        try storage.snapshot { try storage.head() }
    }

    package func inspectRecords() throws -> [InspectedRecord] {
        var records: [InspectedRecord] = []
        try inspectRecords(unless: nil) { _, record in records.append(record) }
        return records
    }

    /// The same one by one, in the order of their keys.
    ///
    /// - Parameter isKnown: Asked of each key, with a mark that two rows share only when they are the
    ///   same, whether to pass it over.
    package func inspectRecords(
        unless isKnown: ((Int64, _ mark: UInt64) -> Bool)?,
        _ body: (Int64, InspectedRecord) throws -> Void
    ) throws {
        try storage.snapshot {
            try storage.forEachRecord(unless: isKnown) { key, result, _ in
                let record = try result.get()
                try body(
                    key,
                    InspectedRecord(
                        id: record.id, kind: record.kind, placement: record.placement,
                        createdMilliseconds: record.createdMilliseconds,
                        fields: record.state.fields, contested: record.contestedFields))
            }
        }
    }

    package func inspectGroups() throws -> [InspectedGroup] {
        var groups: [InspectedGroup] = []
        try storage.snapshot {
            let terms = try storage.terms()
            try storage.forEachBatch { batch in
                guard let writer = try storage.replica(row: batch.replicaRow) else {
                    throw LedgerError.damaged("a batch without its writer")
                }
                let outcomes = try StoredOutcome.decode(batch.outcomes)
                for (group, outcome) in zip(try StoredContent.decode(batch), outcomes) {
                    groups.append(
                        InspectedGroup(
                            replica: writer.id, device: writer.device, group: group,
                            outcome: outcome.outcome, sequence: outcome.sequence,
                            stamps: Array(outcome.stamps),
                            clock: try batch.clock(
                                of: group, writer: writer, terms: terms, in: storage)))
                }
            }
        }
        return groups
    }

    /// What a device may hold as of now.
    package func scope(ofDevice id: Int64) throws -> Scope {
        try storage.snapshot {
            guard let row = try storage.device(id) else {
                throw LedgerError.notFound("device", hint: "devices lists them")
            }
            return try scope(of: row.device)
        }
    }
}

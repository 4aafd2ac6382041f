/// One field set to one value.
package struct Change: Hashable, Sendable {
    package var field: UInt32
    /// Bytes as defined for the field; `nil` clears it.
    package var value: [UInt8]?

    package init(field: UInt32, value: [UInt8]?) {
        self.field = field
        self.value = value
    }
}

/// The changes of one command: admitted or rejected whole, never split over batches or pages.
///
/// Immutable from the moment the journal stores it; a retry sends the same content.
package struct ChangeGroup: Hashable, Sendable {
    package var record: RecordID
    /// The kind of the record that this group creates; `nil` when the record exists.
    package var createdKind: UInt32?
    /// The counter of the first change; the others follow without holes.
    package var firstCounter: UInt64
    /// Each field at most once.
    package var changes: ChangeList
    /// The head at the end of the writer's newest complete pull.
    package var base: Position
    package var written: ClockReading

    package init(
        record: RecordID, createdKind: UInt32?, firstCounter: UInt64,
        changes: some Sequence<Change>, base: Position, written: ClockReading
    ) {
        self.init(
            record: record, createdKind: createdKind, firstCounter: firstCounter,
            changes: ChangeList(changes), base: base, written: written)
    }

    package init(
        record: RecordID, createdKind: UInt32?, firstCounter: UInt64, changes: ChangeList,
        base: Position, written: ClockReading
    ) {
        self.record = record
        self.createdKind = createdKind
        self.firstCounter = firstCounter
        self.changes = changes
        self.base = base
        self.written = written
    }

    /// The counter after the last change.
    package var nextCounter: UInt64 { firstCounter + UInt64(changes.count) }
}

/// Consecutive groups of one replica, as they travel together.
package struct Batch: Hashable, Sendable {
    package var replica: ReplicaID
    /// The replicas that this one was forked from, with the last counter of each that it shares.
    package var ancestors: [Dot]
    package var groups: [ChangeGroup]

    package init(replica: ReplicaID, ancestors: [Dot], groups: [ChangeGroup]) {
        self.replica = replica
        self.ancestors = ancestors
        self.groups = groups
    }
}

/// What became of a group at the hub; stored there, so that a retry gets the identical answer.
package enum GroupOutcome: Hashable, Sendable {
    /// Admitted; `superseded` names the fields (sorted) where another version stayed the winner.
    case applied(superseded: [UInt32])
    /// Refused whole. `code` is one of NeedModel's rejection codes; `field` is 0 when the whole
    /// group is at fault; `reason` is a short English text without residents' data.
    case rejected(code: UInt32, field: UInt32, reason: String)
}

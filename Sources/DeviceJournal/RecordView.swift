package import NeedModel
package import SyncCore

/// One version of a field, as it is shown.
package struct VersionView: Hashable, Sendable {
    /// As defined for the field; `nil` when it was cleared.
    package var value: [UInt8]?
    package var time: ShownTime
    package var dot: Dot
    /// Where the hub admitted it; 0 when that is not known here yet.
    package var sequence: UInt64
    /// Who wrote it: the person's name, `nil` when the hub did not say.
    package var writer: String?
    /// Written on this device, by this journal or one that it descends from.
    package var isOwn: Bool
    /// Own, and not yet contained in what was pulled.
    package var isPending: Bool
}

/// One field as it is shown: own changes laid over what was pulled.
package struct FieldView: Hashable, Sendable {
    package var field: UInt32
    /// What is shown, then the other live versions, newest first; never empty.
    package var versions: [VersionView]

    package var shown: VersionView { versions[0] }
    package var value: [UInt8]? { versions[0].value }

    /// Concurrent writes of one value are no conflict.
    package var isInConflict: Bool { versions.contains { $0.value != versions[0].value } }
}

/// One record as it is shown.
package struct RecordView: Hashable, Sendable {
    package var id: RecordID
    /// A ``NeedModel/Kind``, perhaps one that this program does not know.
    package var kind: UInt32
    package var created: ShownTime
    /// Who recorded it; `nil` when the hub did not say.
    package var creator: String?
    /// Recorded on this device.
    package var isOwn: Bool
    package var fields: FieldMap<FieldView>
    /// Fields with a version that the shown delete had not seen and that had not seen it.
    package var contested: [UInt32]
    /// Something here is not yet decided by the hub.
    package var isWaiting: Bool

    package func value(_ field: UInt32) -> [UInt8]? { fields[field]?.value }

    func text(_ field: UInt32) -> String? {
        value(field).flatMap { String(validating: $0, as: UTF8.self) }
    }
}

/// One need as it is shown.
package struct NeedSnapshot: Hashable, Sendable {
    package var record: RecordView
    package var status: NeedStatus
    package var dispatch: FieldValue.Dispatch?
    /// The newest answer to the current order, and the version that it comes from.
    package var answer: FieldValue.Answer?
    package var answerVersion: VersionView?
    package var rating: FieldValue.Rating?
    /// The current order went to this device's team and was not shown yet.
    package var isNew: Bool
    /// Open conflicts, by field.
    package var conflicts: [ConflictSnapshot]

    package var id: RecordID { record.id }
    package var created: ShownTime { record.created }
    package var creator: String? { record.creator }
    package var isWaiting: Bool { record.isWaiting }
    package var isWithdrawn: Bool { status == .withdrawn }

    package func field(_ field: NeedField) -> FieldView? { record.fields[field.rawValue] }

    /// The shown value; `nil` when cleared, never set or not well-formed.
    package func value(_ field: NeedField) -> FieldValue? {
        guard let bytes = record.value(field.rawValue),
            let rule = FieldRule.rule(kind: .need, field: field.rawValue)
        else { return nil }
        return FieldValue(rule.form, bytes: bytes)
    }

    private func text(_ field: NeedField) -> String? { record.text(field.rawValue) }

    package var text: String { text(.text) ?? "" }
    package var category: String? { text(.category) }
    package var grid: String? { text(.grid) }
    package var resident: String? { text(.resident) }
    package var phone: String? { text(.phone) }
    package var address: String? { text(.address) }
    package var withdrawalReason: String? { text(.withdrawal) }

    /// 1 to 3.
    package var urgency: Int? {
        guard case .integer(let number)? = value(.urgency) else { return nil }
        return Int(clamping: number)
    }

    /// Millionths of a degree.
    package var location: (latitude: Int64, longitude: Int64)? {
        guard case .location(let latitude, let longitude)? = value(.location) else { return nil }
        return (latitude, longitude)
    }

    /// Whether the due day has passed, by the banner's calendar, with work left to do.
    package func isOverdue(today: CivilDate) -> Bool {
        guard let due = dispatch?.due, !status.isClosed else { return false }
        return due < today
    }
}

/// A field whose live versions disagree, or a delete that an edit disagrees with.
package struct ConflictSnapshot: Hashable, Sendable {
    package struct Version: Hashable, Sendable {
        /// From 1, newest first.
        package var number: Int
        /// The field that the value belongs to: in a contested withdrawal, not always that one.
        package var field: NeedField
        package var version: VersionView
        package var isShown: Bool

        package var value: FieldValue? {
            guard let bytes = version.value,
                let rule = FieldRule.rule(kind: .need, field: field.rawValue)
            else { return nil }
            return FieldValue(rule.form, bytes: bytes)
        }
    }

    package var need: RecordID
    /// For a contested withdrawal, `withdrawal`.
    package var field: NeedField
    package var versions: [Version]
    /// The need was withdrawn while somebody changed it: keeping another version than the
    /// withdrawal brings the need back.
    package var isContestedWithdrawal: Bool
}

/// A remark on a need.
package struct NoteSnapshot: Hashable, Sendable {
    package var id: RecordID
    package var need: RecordID
    package var text: String
    package var created: ShownTime
    package var creator: String?
    package var isOwn: Bool
    package var isWaiting: Bool
}

/// A team or a category.
package struct NamedCode: Hashable, Sendable {
    package var code: String
    package var name: String
    /// Of a team.
    package var territory: String?
}

/// One change of a record's history.
package struct HistoryLine: Hashable, Sendable {
    package var field: NeedField?
    package var fieldNumber: UInt32
    package var value: [UInt8]?
    package var time: ShownTime
    package var writer: String?
    package var isOwn: Bool
    package var dot: Dot
    /// 0 when the hub has not admitted it yet.
    package var sequence: UInt64
    /// The full vector clock; only what is known here unless the hub was asked.
    package var clock: VectorClock
    package var isLive: Bool
    package var isWinner: Bool

    package init(
        field: NeedField?, fieldNumber: UInt32, value: [UInt8]?, time: ShownTime, writer: String?,
        isOwn: Bool, dot: Dot, sequence: UInt64, clock: VectorClock, isLive: Bool, isWinner: Bool
    ) {
        self.field = field
        self.fieldNumber = fieldNumber
        self.value = value
        self.time = time
        self.writer = writer
        self.isOwn = isOwn
        self.dot = dot
        self.sequence = sequence
        self.clock = clock
        self.isLive = isLive
        self.isWinner = isWinner
    }

    package var fieldValue: FieldValue? {
        guard let value, let rule = FieldRule.rule(kind: .need, field: fieldNumber) else {
            return nil
        }
        return FieldValue(rule.form, bytes: value)
    }
}

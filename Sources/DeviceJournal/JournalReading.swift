package import NeedModel
import SQLiteStore
package import SyncCore

// What a screen shows: the hub's state as last pulled, with the own groups that it does not contain
// laid over it in the order of writing.

/// What is needed to show any record, read once per call.
///
/// Replicas are keys by their numbers, as boots are: for each type of key a program looks through
/// all conformances that are linked into it, and a command does not run much longer than that.
struct ReadingContext {
    var identity: Identity?
    /// The last counter shared with the present replica; of the present one, the greatest there is.
    fileprivate var lineage: [UInt64: UInt64]
    fileprivate var people: [UInt64: String]
    var boots: [UInt64: BootAnchor]
    /// The order under which a job was shown.
    var seen: [RecordID: UInt64]

    /// The last counter of a replica that this journal has written or inherited; `nil` of others'.
    func shared(of replica: ReplicaID) -> UInt64? { lineage[replica.rawValue] }

    /// Whether this device wrote under a replica. The hub names everybody else, so an unnamed one
    /// is a copy of this journal, or a journal that the device had before.
    func isOwn(_ replica: ReplicaID) -> Bool {
        shared(of: replica) != nil || people[replica.rawValue] == nil
    }

    /// Who wrote under a replica.
    ///
    /// - Returns: The name is `nil` for the hub itself.
    func writer(_ replica: ReplicaID) -> (name: String?, isOwn: Bool) {
        guard shared(of: replica) == nil, let person = people[replica.rawValue] else {
            return (identity?.name, true)
        }
        return (person.isEmpty ? nil : person, false)
    }
}

/// A row of `record`.
struct RecordRow {
    var id: RecordID
    var kind: UInt32
    var created: Int64
    var isVisible: Bool
    var state: RecordState
}

extension RecordRow {
    /// Columns: id, kind, created, visible, state.
    ///
    /// - Returns: `nil` when a disk made something unreadable of it: it is as if it were not here
    ///   until it has been fetched again, and holds up nothing else.
    init?(row: borrowing Statement) {
        guard let id = RecordID(bytes: row.bytes(at: 0)),
            let state = try? RecordState(bytes: row.bytes(at: 4))
        else { return nil }
        self.id = id
        kind = UInt32(truncatingIfNeeded: row.integer(at: 1))
        created = row.integer(at: 2)
        isVisible = row.bool(at: 3)
        self.state = state
    }
}

extension Journal {
    /// One need, also a withdrawn one.
    ///
    /// - Throws: ``JournalError/notFound(_:)`` when it is not held, or is no need.
    package func snapshot(of id: RecordID) throws(JournalError) -> NeedSnapshot {
        try reading { try requireNeed(id, context: readContext()) }
    }

    /// All needs held, in the order of their ids, so by the time of recording.
    package func needs(includingWithdrawn: Bool = false) throws(JournalError) -> [NeedSnapshot] {
        try reading {
            try allNeeds(context: readContext()).filter { includingWithdrawn || !$0.isWithdrawn }
        }
    }

    /// The needs that were dispatched, as this device should see them: a team's device those of
    /// its own current orders, others all. Withdrawn ones are left out.
    package func jobs() throws(JournalError) -> [NeedSnapshot] {
        try reading {
            let context = try readContext()
            return try allNeeds(context: context).filter { need in
                guard let dispatch = need.dispatch, !need.isWithdrawn else { return false }
                guard let identity = context.identity, identity.role == .team else { return true }
                return dispatch.team == identity.team
            }
        }
    }

    /// Needs with an open conflict, also withdrawn ones.
    package func needsInConflict() throws(JournalError) -> [NeedSnapshot] {
        try reading { try allNeeds(context: readContext()).filter { !$0.conflicts.isEmpty } }
    }

    /// Remarks on a need, oldest first.
    package func notes(of need: RecordID) throws(JournalError) -> [NoteSnapshot] {
        try reading {
            let context = try readContext()
            _ = try requireNeed(need, context: context)
            let rows = try connection.all(
                "SELECT id, kind, created, visible, state FROM record WHERE parent = ?",
                .bytes(need.bytes)
            ) { RecordRow(row: $0) }.compactMap { $0 }
            var groups = try readOutbox()
            let held = Set(rows.map(\.id))
            groups.removeAll { group in
                !held.contains(group.record) && group.content.createdKind != Kind.note.rawValue
            }
            return compose(rows: rows, kind: .note, groups: groups, context: context)
                .compactMap { note in
                    let parent = note.value(NoteField.need.rawValue).flatMap { RecordID(bytes: $0) }
                    guard parent == need else { return nil }
                    return NoteSnapshot(
                        id: note.id, need: need, text: note.text(NoteField.text.rawValue) ?? "",
                        created: note.created, creator: note.creator, isOwn: note.isOwn,
                        isWaiting: note.isWaiting)
                }
                .sorted { ($0.created.milliseconds, $0.id) < ($1.created.milliseconds, $1.id) }
        }
    }

    /// What this device holds of a need's history, oldest first: live versions and own changes.
    package func history(of id: RecordID) throws(JournalError) -> [HistoryLine] {
        try reading {
            let need = try requireNeed(id, context: readContext())
            let cursor = try readPull().cursor
            return need.record.fields.values.flatMap { field in
                field.versions.enumerated().map { index, version in
                    var clock = VectorClock([version.dot])
                    if version.isPending { clock.observe(Dot(cursor.term, cursor.sequence)) }
                    return HistoryLine(
                        field: NeedField(rawValue: field.field), fieldNumber: field.field,
                        value: version.value, time: version.time, writer: version.writer,
                        isOwn: version.isOwn, dot: version.dot, sequence: version.sequence,
                        clock: clock, isLive: true, isWinner: index == 0)
                }
            }.sorted {
                ($0.time.milliseconds, $0.dot) < ($1.time.milliseconds, $1.dot)
            }
        }
    }

    /// Whether this device wrote under a replica.
    package func isOwn(_ replica: ReplicaID) throws(JournalError) -> Bool {
        try reading { try readContext().isOwn(replica) }
    }

    /// Notes that the person has been shown these jobs, under their current orders.
    package func markSeen(_ ids: [RecordID]) throws(JournalError) {
        // Most lists show nothing new, and those shall not write.
        let fresh = try reading {
            let context = try readContext()
            return try ids.compactMap { id -> (RecordID, UInt64)? in
                guard let need = try need(id, context: context), let dispatch = need.dispatch,
                    context.seen[id] != dispatch.order
                else { return nil }
                return (id, dispatch.order)
            }
        }
        guard !fresh.isEmpty else { return }
        try storing {
            for (id, order) in fresh {
                try connection.run(
                    "INSERT OR REPLACE INTO seen VALUES (?, ?)", .bytes(id.bytes), .bits(order))
            }
        }
    }
}

// MARK: - Reference data

extension Journal {
    /// All territories held, by code.
    package func territories() throws(JournalError) -> [Territory] {
        try reading { try readTerritories() }
    }

    package func territoryTree() throws(JournalError) -> TerritoryTree {
        TerritoryTree(try territories())
    }

    /// The grids in which this device may record, by code.
    package func ownGrids() throws(JournalError) -> [Territory] {
        try reading {
            let scope = try readScope()
            return try readTerritories().filter {
                $0.level == .grid && scope.contains(.grid($0.code))
            }
        }
    }

    /// By code.
    package func teams() throws(JournalError) -> [NamedCode] {
        try reading { try readNamedCodes(.team) }
    }

    /// By code.
    package func categories() throws(JournalError) -> [NamedCode] {
        try reading { try readNamedCodes(.category) }
    }

    /// The code of a grid given by code or name, or by a part of the name that only it has.
    package func gridCode(matching text: String) throws(JournalError) -> String {
        // Mostly it is the code of a grid of their own, and a banner has hundreds of others.
        if try reading({ try isAssigned(.grid(text)) }) { return text }
        let grids = try territories().filter { $0.level == .grid }
        let found = try Self.code(
            matching: text, among: grids.map { NamedCode(code: $0.code, name: $0.name) })
        guard let found else { throw .unknownGrid(text) }
        return found
    }

    package func categoryCode(matching text: String) throws(JournalError) -> String {
        if try reading({ try isNamed(text, in: .category) }) { return text }
        guard let found = try Self.code(matching: text, among: categories()) else {
            throw .unknownCategory(text)
        }
        return found
    }

    package func teamCode(matching text: String) throws(JournalError) -> String {
        guard let found = try Self.code(matching: text, among: teams()) else {
            throw .unknownTeam(text)
        }
        return found
    }

    private static func code(
        matching text: String, among entries: [NamedCode]
    ) throws(JournalError) -> String? {
        // Its own bytes, however the text is composed.
        if let entry = entries.first(where: { $0.code == text }) { return entry.code }
        for candidates in [
            entries.filter { $0.name == text },
            text.isEmpty ? [] : entries.filter { $0.name.contains(text) },
        ] where !candidates.isEmpty {
            guard candidates.count == 1 else {
                throw .ambiguousName(text, codes: candidates.prefix(8).map(\.code))
            }
            return candidates[0].code
        }
        return nil
    }

    func readTerritories() throws -> [Territory] {
        try records(of: .territory).compactMap { state in
            func text(_ field: TerritoryField) -> String? { state.text(field.rawValue) }
            guard let code = text(.code),
                let level = text(.level).flatMap({ TerritoryLevel(rawValue: $0) })
            else { return nil }
            return Territory(
                code: code, name: text(.name) ?? code, level: level, parent: text(.parent))
        }.sorted { $0.code < $1.code }
    }

    func readNamedCodes(_ kind: Kind) throws -> [NamedCode] {
        // Teams and categories number their codes and names alike.
        try records(of: kind).compactMap { state in
            guard let code = state.text(TeamField.code.rawValue) else { return nil }
            return NamedCode(
                code: code, name: state.text(TeamField.name.rawValue) ?? code,
                territory: kind == .team ? state.text(TeamField.territory.rawValue) : nil)
        }.sorted { $0.code < $1.code }
    }

    /// Whether a team or a category has this code.
    ///
    /// Asked with every need, so only what contains the code somewhere is read.
    func isNamed(_ code: String, in kind: Kind) throws -> Bool {
        let bytes = Array(code.utf8)
        return try connection.contains(
            "SELECT state FROM record WHERE kind = ? AND visible = 1 AND instr(state, ?) > 0",
            .integer(Int64(kind.rawValue)), .bytes(bytes)
        ) { row in
            let state = try? RecordState(bytes: row.bytes(at: 0))
            return state?.winner(TeamField.code.rawValue)?.value == bytes
        }
    }

    /// Whether the device holds any reference data of a kind.
    func holdsAny(_ kind: Kind) throws -> Bool {
        try connection.first(
            "SELECT 1 FROM record WHERE kind = ? AND visible = 1 LIMIT 1",
            .integer(Int64(kind.rawValue))
        ) { _ in true } ?? false
    }

    /// Reference data has no own changes laid over it.
    private func records(of kind: Kind) throws -> [RecordState] {
        try connection.all(
            "SELECT state FROM record WHERE kind = ? AND visible = 1",
            .integer(Int64(kind.rawValue))
        ) { try? RecordState(bytes: $0.bytes(at: 0)) }.compactMap { $0 }
    }
}

extension RecordState {
    func text(_ field: UInt32) -> String? {
        winner(field)?.value.flatMap { String(validating: $0, as: UTF8.self) }
    }
}

// MARK: - Composing

extension Journal {
    func readContext() throws -> ReadingContext {
        var context = ReadingContext(
            identity: try readIdentity(), lineage: [:], people: [:], boots: try readBoots(),
            seen: [:])
        for row in try readLineage() { context.lineage[row.replica.rawValue] = row.shared ?? .max }
        try connection.forEach("SELECT replica, name FROM person") { row in
            context.people[row.replica(at: 0).rawValue] = row.text(at: 1)
        }
        try connection.forEach("SELECT record, dispatch_order FROM seen") { row in
            context.seen[try row.record(at: 0)] = row.bits(at: 1)
        }
        return context
    }

    /// For what this journal recorded just now, of which all is its own.
    func readContext(ofOwn identity: Identity) throws -> ReadingContext {
        ReadingContext(
            identity: identity, lineage: [identity.replica.rawValue: .max], people: [:],
            boots: try readBoots(), seen: [:])
    }

    func readRecord(_ id: RecordID) throws -> RecordRow? {
        try connection.first(
            "SELECT id, kind, created, visible, state FROM record WHERE id = ?", .bytes(id.bytes)
        ) { RecordRow(row: $0) } ?? nil
    }

    func need(_ id: RecordID, context: ReadingContext) throws -> NeedSnapshot? {
        let row = try readRecord(id)
        let view = compose(
            id: id, row: row?.kind == Kind.need.rawValue ? row : nil,
            groups: try readOutbox(of: id), context: context)
        guard let view, view.kind == Kind.need.rawValue else { return nil }
        return NeedSnapshot(view, context: context)
    }

    func requireNeed(_ id: RecordID, context: ReadingContext) throws -> NeedSnapshot {
        guard let need = try need(id, context: context) else {
            throw JournalError.notFound(id.description)
        }
        return need
    }

    func allNeeds(context: ReadingContext) throws -> [NeedSnapshot] {
        let rows = try connection.all(
            "SELECT id, kind, created, visible, state FROM record WHERE kind = ?",
            .integer(Int64(Kind.need.rawValue))
        ) { RecordRow(row: $0) }.compactMap { $0 }
        return compose(rows: rows, kind: .need, groups: try readOutbox(), context: context)
            .map { NeedSnapshot($0, context: context) }
    }

    /// All records of a kind, those that are only in the outbox too, by id.
    private func compose(
        rows: [RecordRow], kind: Kind, groups: [OutboxGroup], context: ReadingContext
    ) -> [RecordView] {
        let groupsByRecord = Dictionary(grouping: groups, by: \.record)
        let held = Set(rows.map(\.id))
        var views = rows.compactMap { row in
            compose(
                id: row.id, row: row, groups: groupsByRecord[row.id] ?? [], context: context)
        }
        for (id, groups) in groupsByRecord where !held.contains(id) {
            if let view = compose(id: id, row: nil, groups: groups, context: context),
                view.kind == kind.rawValue
            {
                views.append(view)
            }
        }
        return views.sorted { $0.id < $1.id }
    }

    /// One record as it is shown.
    ///
    /// - Parameters:
    ///   - row: What was pulled of it, if anything.
    ///   - groups: Its part of the outbox, in the order of writing.
    /// - Returns: `nil` when it is hidden, or neither pulled nor created here.
    func compose(
        id: RecordID, row: RecordRow?, groups: [OutboxGroup], context: ReadingContext
    ) -> RecordView? {
        let creation = groups.first { $0.content.createdKind != nil }
        // A hub that was restored may have been brought what this journal created before it knows
        // who did. Until it does, the person is shown what they wrote.
        if let row, !row.isVisible, creation?.content.createdKind != row.kind { return nil }
        let row = row?.isVisible == true ? row : nil
        guard let kind = row?.kind ?? creation?.content.createdKind else { return nil }
        let created =
            row.map { ShownTime(milliseconds: $0.created, isApproximate: false) }
            ?? ShownTime(
                milliseconds: creation.map { context.boots.corrected($0.content.written) }?
                    .milliseconds ?? id.milliseconds, isApproximate: true)
        let creator = context.writer(id.replica)
        var view = RecordView(
            id: id, kind: kind, created: created, creator: creator.name, isOwn: creator.isOwn,
            fields: FieldMap(), contested: [], isWaiting: groups.contains { !$0.isSettled })
        let fields = row?.state.fields ?? FieldMap()
        view.fields.reserveCapacity(fields.count)
        for (field, versions) in fields {
            view.fields[field] = FieldView(
                field: field,
                versions: versions.map { version in
                    let writer = context.writer(version.stamp.dot.replica)
                    return VersionView(
                        value: version.value,
                        time: ShownTime(
                            milliseconds: version.stamp.milliseconds, isApproximate: false),
                        dot: version.stamp.dot, sequence: version.sequence,
                        writer: writer.name, isOwn: writer.isOwn, isPending: false)
                })
        }
        var contested = Set(row?.state.contested ?? [])
        for group in groups { lay(group, over: &view, contested: &contested, context: context) }
        view.contested = contested.sorted()
        return view
    }

    /// Puts one own group on top of what is shown so far.
    private func lay(
        _ group: OutboxGroup, over view: inout RecordView, contested: inout Set<UInt32>,
        context: ReadingContext
    ) {
        /// Whether the group's writer had seen a version: the hub will judge by the same.
        func covers(_ version: VersionView) -> Bool {
            if version.isPending { return true }
            if version.sequence <= group.content.base.sequence { return true }
            guard let shared = context.shared(of: version.dot.replica) else { return false }
            return version.dot.replica == group.replica
                ? version.dot.counter < group.counter : version.dot.counter <= shared
        }
        let tombstone = NeedField.withdrawal.rawValue
        let isNeed = view.kind == Kind.need.rawValue
        var counter = group.counter
        for change in group.content.changes {
            let version = VersionView(
                value: change.value,
                time: ShownTime(
                    milliseconds: context.boots.corrected(group.content.written).milliseconds,
                    isApproximate: true),
                dot: Dot(group.replica, counter), sequence: 0,
                writer: context.identity?.name, isOwn: true, isPending: true)
            counter += 1
            let others = (view.fields[change.field]?.versions ?? []).filter { !covers($0) }
            view.fields[change.field] = FieldView(
                field: change.field, versions: [version] + others)
            guard isNeed else { continue }
            // An own order decides on what came late to the former ones.
            if change.field == NeedField.dispatch.rawValue,
                var late = view.fields[LateAnswers.field]
            {
                let order = ConflictSnapshot.currentOrder(of: view)
                late.versions.removeAll { LateAnswers.named(by: $0.value) != order }
                view.fields[LateAnswers.field] = late.versions.isEmpty ? nil : late
            }
            if change.field == tombstone {
                contested = []
                guard change.value != nil else { continue }
                for (field, register) in view.fields
                where field != tombstone && field != LateAnswers.field {
                    if register.versions.contains(where: { !covers($0) }) {
                        contested.insert(field)
                    }
                }
            } else if let delete = view.fields[tombstone]?.versions.first, delete.value != nil {
                if !covers(delete) {
                    contested.insert(change.field)
                } else if others.isEmpty {
                    contested.remove(change.field)
                }
            }
        }
    }
}

extension NeedSnapshot {
    init(_ record: RecordView, context: ReadingContext) {
        func register(_ field: UInt32) -> Register {
            let versions = record.fields[field]?.versions ?? []
            return Register(
                live: versions.enumerated().map { index, version in
                    // A pending version has no stamp yet, and is shown before all that have one.
                    let milliseconds =
                        version.isPending ? .max - Int64(index) : version.time.milliseconds
                    return Version(
                        value: version.value,
                        stamp: Stamp(milliseconds: milliseconds, dot: version.dot),
                        sequence: version.sequence, clock: ShortClock(base: 0))
                })
        }
        let progress = NeedProgress(late: register(LateAnswers.field)) { register($0.rawValue) }
        self.record = record
        status = progress.status
        dispatch = progress.dispatch
        answer = progress.answer
        rating = progress.rating
        answerVersion = progress.answerVersion.flatMap { version in
            [NeedField.answer.rawValue, LateAnswers.field]
                .lazy.compactMap { record.fields[$0]?.versions.first { $0.dot == version.dot } }
                .first
        }
        if let dispatch, let identity = context.identity, identity.role == .team,
            dispatch.team == identity.team, !status.isClosed
        {
            isNew = context.seen[record.id] != dispatch.order
        } else {
            isNew = false
        }
        conflicts = ConflictSnapshot.all(in: record)
    }
}

extension ConflictSnapshot {
    static func currentOrder(of record: RecordView) -> UInt64? {
        LateAnswers.order(ofDispatch: record.value(NeedField.dispatch.rawValue))
    }

    /// By field.
    static func all(in record: RecordView) -> [ConflictSnapshot] {
        // Nearly always there is one version of each, and nothing that might disagree with it.
        let hasLate = record.fields[LateAnswers.field] != nil
        if !hasLate && record.contested.isEmpty
            && record.fields.values.allSatisfy({ $0.versions.count == 1 })
        {
            return []
        }
        return NeedField.allCases.compactMap { ConflictSnapshot($0, in: record) }
    }

    /// - Returns: `nil` when the field is not in conflict.
    init?(_ field: NeedField, in record: RecordView) {
        guard let register = record.fields[field.rawValue] else { return nil }
        let order = Self.currentOrder(of: record)
        var candidates = register.versions.map { (field: field, version: $0) }
        if LateAnswers.sources.contains(field) {
            // Those to another order count for nothing; they are in conflict with the dispatch.
            candidates.removeAll { LateAnswers.order(of: field, $0.version.value) != order }
        }
        let shown = candidates.first?.version.dot
        var isContested = false
        if field == .dispatch {
            for late in record.fields[LateAnswers.field]?.versions ?? [] {
                guard let open = LateAnswers.open(late.value, currentOrder: order) else { continue }
                var version = late
                version.value = open.bytes
                candidates.append((open.field, version))
                isContested = true
            }
        }
        if field == .withdrawal, register.value != nil {
            for contested in record.contested {
                // Who withdrew had seen what they wrote themselves, so that contests nothing.
                guard let other = NeedField(rawValue: contested),
                    let versions = record.fields[contested]?.versions,
                    let version = versions.first(where: { version in
                        !register.versions.contains {
                            $0.dot.replica == version.dot.replica
                                && $0.dot.counter > version.dot.counter
                        }
                    }) ?? versions.first
                else { continue }
                candidates.append((other, version))
                isContested = true
            }
        }
        let isInConflict = candidates.contains {
            $0.field == field && $0.version.value != candidates[0].version.value
        }
        guard isContested || isInConflict else { return nil }
        candidates.sort { left, right in
            (left.version.isPending ? 1 : 0, left.version.time.milliseconds, left.version.dot)
                > (
                    right.version.isPending ? 1 : 0, right.version.time.milliseconds,
                    right.version.dot
                )
        }
        need = record.id
        self.field = field
        isContestedWithdrawal = isContested && field == .withdrawal
        versions = candidates.enumerated().map { index, candidate in
            Version(
                number: index + 1, field: candidate.field, version: candidate.version,
                isShown: candidate.version.dot == shown)
        }
    }
}
